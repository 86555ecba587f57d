"""What an event would become, step by step, with the real code on made-up state."""

import sys
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from schemas.contract import Contract
from schemas.events import EVENTS
from schemas.events.contact import ContactUpdated
from schemas.messages import Message
from worker.errors import ConfigurationError, PermanentError, Problem
from worker.people import Contact, Known
from worker.policy.checking import Checking
from worker.policy.consent import Act, DatedAct, check_consent
from worker.policy.number import Number, parse_number
from worker.policy.verdicts import Defer, Refuse
from worker.records import Record
from worker.routing.deciding import Deciding, GivenUp, Ignored, Projected, Routed, Unrouted
from worker.routing.decoding import BadEvent, first_error
from worker.routing.loading import Configuration
from worker.routing.table import nearest
from worker.sealing import KeyRing, Pepper
from worker.settings import Intake, TopicSettings

TOPIC = "explained"


@dataclass(frozen=True)
class ExplainedMessage:
    """A message that the event would become, check by check, up to its text or its refusal."""

    message_id: str
    route: str
    template: str
    lane: str
    outcome: str
    reason: str | None
    steps: list[tuple[str, str]]
    sender: str | None = None
    text: str | None = None
    encoding: str | None = None
    segments: int | None = None


@dataclass(frozen=True)
class Explanation:
    """What the event would become: `routed`, `unrouted`, `ignored`, `projected` or `dead_lettered`."""

    event_type: str | None
    became: str
    why: str | None = None
    messages: list[ExplainedMessage] = field(default_factory=list)
    not_matched: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain containers."""
        return asdict(self)


def read_event_file(path: Path) -> bytes:
    """
    Return the file's bytes.

    Raises:
        ConfigurationError: There is no such file.
    """
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise ConfigurationError([Problem(str(path), None, "", f"cannot be read: {error.strerror}")]) from error


def read_contact_file(path: Path) -> ContactUpdated:
    """
    Return the contact in a file.

    Raises:
        ConfigurationError: It is no payload of a `contact.updated`.
    """
    try:
        return ContactUpdated.model_validate_json(read_event_file(path))
    except ValidationError as error:
        place, message = first_error(error)
        raise ConfigurationError([Problem(str(path), None, place, f"as a contact.updated: {message}")]) from error


def explain_event(
    configuration: Configuration, event: bytes, *, contact: ContactUpdated | None, consents: frozenset[str]
) -> Explanation:
    """Return what the CloudEvent in *event* would become, if *contact* were its recipient and had given *consents*."""
    settings, now = configuration.settings, datetime.now(UTC)
    # Message ids are shown as the worker would make them only with its own pepper; here they tell messages apart.
    pepper, ring = Pepper(b"explained without state"), KeyRing({"explain": bytes(32)}, "explain")
    topic = TopicSettings(name=TOPIC, start="earliest", events=("any",))
    headers = (("content-type", b"application/cloudevents+json"),)
    record = Record(TOPIC, 0, 0, int(time.time() * 1000), None, event, headers)
    intake = _intake_of(configuration, event)
    deciding = Deciding(intake, settings.deployment, {TOPIC: topic}, configuration.table, pepper)
    read = deciding.read(record)
    card = _contact(contact, pepper)
    known = {subject: Known(ring.new_key(subject)[0], card) for subject in read.subjects()}
    decision = deciding.decide(read, known)
    event_type = None if isinstance(read.event, BadEvent) else read.event.type
    match decision:
        case GivenUp(error):
            return Explanation(event_type, "dead_lettered", _place(error))
        case Ignored():
            return Explanation(event_type, "ignored", f"no such event type; {nearest(event_type or '', EVENTS)}")
        case Projected():
            return Explanation(event_type, "projected", "contacts and consents are kept, and nobody is texted")
        case Unrouted(_, reason):
            return Explanation(event_type, "unrouted", reason, not_matched=_not_matched(configuration, event_type, ()))
        case Routed(messages):
            checks = Checking.of(configuration, pepper)
            explained = [_explain(message, known[message.recipient], checks, consents, now) for message in messages]
            matched = {message.route for message in messages}
            return Explanation(event_type, "routed", None, explained, _not_matched(configuration, event_type, matched))


def _explain(
    message: Message, known: Known, checking: Checking, consents: frozenset[str], now: datetime
) -> ExplainedMessage:
    steps = [("expires", message.expires_at.isoformat())]
    if message.not_before is not None and message.not_before > now:
        now = message.not_before
        steps.insert(0, ("waits until", now.isoformat()))
    base = {
        "message_id": message.id,
        "route": message.route,
        "template": message.template,
        "lane": message.lane.value,
        "steps": steps,
    }
    try:
        checked = checking.check(message, known, now)
    except PermanentError as error:
        steps.append(("composed", _place(error)))
        return ExplainedMessage(**base, outcome="dead_lettered", reason=error.code)  # type: ignore[arg-type]
    if isinstance(checked.verdict, Refuse):
        steps.append(("checked", f"no: {checked.verdict.reason}"))
        return ExplainedMessage(**base, outcome=checked.verdict.kind, reason=checked.verdict.reason)  # type: ignore[arg-type]
    if isinstance(checked.verdict, Defer):
        steps.append(("checked", f"not yet: {checked.verdict.reason}; then it is asked again"))
        return ExplainedMessage(**base, outcome="would wait", reason=checked.verdict.reason)  # type: ignore[arg-type]
    text = checked.text
    if checked.number is None or text is None:
        raise RuntimeError("what may be sent has a number and a text")
    steps += [("number", f"valid, {checked.number.country}"), ("language", text.locale)]
    steps.append(
        (
            "text",
            f"{len(text.body)} characters, {text.segmentation.encoding}, {text.segmentation.segments} segment(s)",
        )
    )
    purpose = checking.template(message).purpose
    acts = [DatedAct(Act.GRANTED, given, now.timestamp()) for given in consents]
    verdict = check_consent(acts, (), purpose)
    refused = verdict if isinstance(verdict, Refuse) else None
    steps.append(("consent", "not needed" if purpose is None else f"for {purpose}: {'no' if refused else 'yes'}"))
    return ExplainedMessage(
        **base,  # type: ignore[arg-type]
        outcome=refused.kind if refused else "would be sent",
        reason=refused.reason if refused else None,
        sender=text.sender,
        text=text.body,
        encoding=text.segmentation.encoding,
        segments=text.segmentation.segments,
    )


def _contact(data: ContactUpdated | None, pepper: Pepper) -> Contact | None:
    if data is None:
        return None
    number = parse_number(data.phone)
    country = number.country if isinstance(number, Number) else None
    fields = data.model_dump(include={"phone", "first_name", "last_name", "locale", "zone", "attributes"})
    return Contact(person=pepper.name("phone", data.phone), country=country, **fields)


def _intake_of(configuration: Configuration, event: bytes) -> Intake:
    """Return the intake whose topics list this event's type; `normal` if none does."""

    class _Typed(Contract):
        type: str = ""

    try:
        event_type = _Typed.model_validate_json(event).type
    except ValueError:
        return Intake.NORMAL
    feeds = (
        i for i, its in configuration.settings.intakes.items() for topic in its.topics if event_type in topic.events
    )
    return next(feeds, Intake.NORMAL)


def _not_matched(
    configuration: Configuration,
    event_type: str | None,
    matched: "frozenset[str] | set[str] | tuple[str, ...]",
) -> list[str]:
    routes = configuration.table.for_type(event_type or "")
    return [
        f"route {route.row.id}: {route.row.when or route.row.to}" for route in routes if route.row.id not in matched
    ]


def _place(error: PermanentError) -> str:
    return f"{error.code}: {error.field}: {error}" if error.field else f"{error.code}: {error}"
