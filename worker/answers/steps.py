"""A message, check by check: what each looked at, what it said, where that stands. The worker's own checks, listened to."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from schemas.messages import Category, Message
from worker.answers.sources import Sources
from worker.content.composing import Text
from worker.errors import Failure, PermanentError
from worker.messages import Body
from worker.people import Contact, Known
from worker.policy.checking import Checked, Checking
from worker.policy.hours import Hours
from worker.policy.number import Number
from worker.policy.verdicts import Defer, Refuse, Verdict

WORDS = {"key": "the sealed data", "text": "the text"}


@dataclass(frozen=True, slots=True)
class Step:
    """
    One check.

    Attributes:
        found: What it looked at; never a number or a name.
        answer: What it said.
        source: File and line of its rule, a record's place, a clock, or the state store.
        today: The input is known only as of today, though another time is asked about.
    """

    check: str
    found: str
    answer: str
    source: str
    today: bool = False


@dataclass(frozen=True)
class ExplainedMessage:
    """
    A message, check by check, up to its text or its refusal.

    Attributes:
        outcome: What it would become.
        cost: Of its segments, in the account's currency, where the account has a price.
        came_of_it: What did come of it, as the ledger has it.
    """

    message_id: str
    route: str
    template: str
    lane: str
    outcome: str
    reason: str | None
    steps: list[Step]
    sender: str | None = None
    text: str | None = None
    encoding: str | None = None
    segments: int | None = None
    cost: float | None = None
    came_of_it: dict[str, Any] | None = None


# Says what the fence would, and how it came to that.
Fence = Callable[[Message, Checked], tuple[Verdict, list[Step]]]


def explain_message(
    message: Message,
    known: Known,
    checking: Checking,
    sources: Sources,
    now: datetime,
    fence: Fence,
    *,
    waits_first: bool = True,
) -> ExplainedMessage:
    """
    Return what *message* would become, and each step towards it.

    Args:
        message: As its lane has it.
        known: Its recipient, and their key.
        checking: By which rules.
        sources: Where they stand.
        now: When.
        fence: For what may go as far as its checks know.
        waits_first: Let a message that has a time of its own wait for it, and look at it then.
    """
    steps: list[Step] = []
    message = checking.timed(message, known)
    if waits_first and message.not_before is not None and message.not_before > now:
        now = message.not_before
        steps.append(Step("timing", _time(now), "waits until then", sources.of("timing", message)))

    def tell(check: str, found: Any, said: Any) -> None:
        if check == "timing" and said is None:
            return
        if check == "hours" and message.category is not Category.MARKETING:
            return
        steps.append(Step(check, WORDS.get(check) or _found(found), _said(said), sources.of(check, message)))

    steps.append(Step("route", message.event.type, f"matched by {message.route}", sources.route(message, "when")))

    try:
        checked = checking.check(message, known, now, tell)
    except PermanentError as error:
        place = sources.template(message, "text")
        steps.append(Step("text", f"template {message.template}", f"no: {place_of(error)}", place))
        return _explained(message, steps, "dead_lettered", error.code)
    verdict = checked.verdict
    if checked.text is not None:
        verdict, its = fence(message, checked)
        steps.extend(its)
    outcome = "would be sent"
    why: str | None = None
    match verdict:
        case Refuse(kind, reason):
            outcome, why = kind.value, reason.value
        case Defer(_, reason):
            outcome, why = "would wait", reason.value
    return _explained(message, steps, outcome, why, checked.text, checking.cost(message, checked))


def _explained(
    message: Message,
    steps: list[Step],
    outcome: str,
    reason: str | None,
    text: Text | None = None,
    cost: float | None = None,
) -> ExplainedMessage:
    return ExplainedMessage(
        message.id,
        message.route,
        message.template,
        message.lane.value,
        outcome,
        reason,
        steps,
        sender=text.sender if text else None,
        text=text.body if text else None,
        encoding=text.segmentation.encoding if text else None,
        segments=text.segmentation.segments if text else None,
        cost=cost,
    )


def place_of(error: PermanentError | Failure) -> str:
    """Return a dead letter's reason with its field."""
    return f"{error.code}: {error.field}: {error}" if error.field else f"{error.code}: {error}"


def _time(time: datetime) -> str:
    return time.isoformat(timespec="seconds")


def _found(found: Any) -> str:
    match found:
        case datetime():
            return _time(found)
        case bool():
            return "a contact id" if found else "a number"
        case frozenset():
            return f"to {', '.join(sorted(found))}"
        case _:
            return str(found)


def _said(said: Any) -> str:
    match said:
        case Refuse(_, reason):
            return f"no: {reason}"
        case Defer(until, reason):
            return f"not yet: {reason}, until {_time(until)}"
        case Number():
            return f"valid, {said.country}"
        case Contact():
            return (
                f"known, {said.country or 'country unknown'}, {said.locale or 'no language'}, {said.zone or 'no zone'}"
            )
        case Hours():
            open_until = f", until {_time(said.closes_at)}" if said.closes_at else ""
            return _said(said.verdict) + (open_until if not isinstance(said.verdict, Refuse | Defer) else "")
        case Text():
            cut = said.segmentation
            segments = f"{cut.segments} segment{'s'[: cut.segments > 1]}"
            return f"{said.locale}, {len(said.body)} characters, {cut.encoding}, {segments}"
        case Body():
            return "opens"
        case None:
            return "no card of theirs"
        case _:
            return "yes"
