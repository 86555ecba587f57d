"""What today's rules would decide for a dead letter: the worker's own code on the state as it is, without a side effect."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from schemas.messages import Category, Lane, Message
from worker.delivery.ledger import Entry, State
from worker.errors import ConfigurationError, DeadLetterReason, PermanentError, TransientError
from worker.floods import template_scope
from worker.messages import anew, may_be_new, read_message
from worker.people import NOBODY, Found, Known
from worker.policy.checking import Checking
from worker.policy.verdicts import Defer, Reason, Refuse
from worker.records import Record
from worker.replaying.letters import MOST_REPLAYS, ROUTER_STAGE, Letter
from worker.results import restore
from worker.routing.deciding import Deciding, GivenUp, Ignored, Projected, Routed, Unrouted
from worker.sealing import Erased
from worker.state.foreseeing import Foreseeing
from worker.state.lookup import Lookup, Question
from worker.tools import Tools

WOULD_SEND, FAILS_AGAIN, ENDED, EXPIRED = "would be sent", "would fail again", "has ended already", "has expired"
ERASED, NOT_WHOLE, QUARANTINED = "person is forgotten", "original is not kept whole", "quarantined"
DOUBT, OLDER = "may have been sent already", "a later copy of it waits elsewhere"
PROJECTED, NOBODY_TOLD, REFUSED, WAITS = (
    "would be projected",
    "nobody would be told",
    "would be suppressed",
    "would wait",
)


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """
    What would come of a letter.

    Attributes:
        decision: One of the phrases above; of an event with several messages, the most consequential.
        detail: A reason code.
        original: What it was; None if it cannot be had back.
        message: If it is a lane's.
        quarantined: It failed again after three replays.
        lanes: Of its messages.
        messages: How many there are, sent or not.
        segments: That would be sent.
        cost: Of them, in the account's currency, where the account has a price.
        anew: Messages that have expired, were surely never sent, and may go under a new id.
        anew_segments: That would be sent of those.
        anew_cost: Of them.
    """

    letter: Letter
    decision: str
    detail: str = ""
    original: Record | None = None
    message: Message | None = None
    marketing: bool = False
    quarantined: bool = False
    lanes: frozenset[Lane] = frozenset()
    messages: int = 1
    segments: int = 0
    cost: float = 0.0
    anew: tuple[Message, ...] = ()
    anew_segments: int = 0
    anew_cost: float = 0.0


class Judge:
    """Judges letters, some hundred at a time."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        configuration = tools.configuration
        settings = configuration.settings
        self._lookup = Lookup(tools.database, tools.people)
        self._held: Mapping[str, str] = {}
        self._checking = Checking.of(configuration, tools.pepper, lambda name: template_scope(name) in self._held)
        accounts = {category: configuration.accounts.of(category)[1] for category in Category}
        self._foreseeing = Foreseeing(tools.database, self._checking, accounts)
        self._deciding: dict[str, Deciding] = {}
        for intake, its in settings.intakes.items():
            inputs = {topic.name: topic for topic in its.topics}
            deciding = Deciding(intake, settings.deployment, inputs, configuration.table, tools.pepper)
            self._deciding |= dict.fromkeys(inputs, deciding)

    async def judge(self, letters: Sequence[Letter]) -> list[Judgement]:
        """
        Return what would come of *letters*, in order.

        Raises:
            StateUnavailable: The database does not answer.
        """
        self._held = await self._tools.operating.floods()
        known = await self._tools.people.load({letter.sealed_for for letter in letters})
        return [await self._judge_safely(letter, known.get(letter.sealed_for, NOBODY)) for letter in letters]

    async def _judge_safely(self, letter: Letter, who: Known) -> Judgement:
        """Judge *letter*; whatever a mistake of ours raises at it, as it did when it became one, stops no other's replay."""
        try:
            return await self._judge(letter, who)
        except (TransientError, ConfigurationError):
            raise
        except Exception as error:  # noqa: BLE001  the sender keeps such a record as `internal_error`
            detail = f"{DeadLetterReason.INTERNAL_ERROR}: {type(error).__name__}"
            return Judgement(letter=letter, decision=FAILS_AGAIN, detail=detail)

    async def _judge(self, letter: Letter, who: Known) -> Judgement:
        if not letter.is_whole:
            return Judgement(letter=letter, decision=NOT_WHOLE)
        if who.key is None:
            return Judgement(letter=letter, decision=ERASED)
        try:
            original = restore(letter.record, who.key)
        except Erased:
            return Judgement(letter=letter, decision=ERASED)
        if letter.stage == ROUTER_STAGE:
            judged = await self._judge_event(letter, original)
        else:
            judged = await self._judge_record(letter, original)
        return replace(judged, quarantined=letter.replays >= MOST_REPLAYS)

    async def _judge_record(self, letter: Letter, original: Record) -> Judgement:
        try:
            message = read_message(original)
        except PermanentError as error:
            return Judgement(letter=letter, decision=FAILS_AGAIN, detail=error.code, original=original)
        return await self.judge_message(letter, original, message.model_copy(update={"waiting_for": None}))

    async def _judge_event(self, letter: Letter, original: Record) -> Judgement:
        deciding = self._deciding.get(original.topic)
        if deciding is None:
            return Judgement(letter=letter, decision=FAILS_AGAIN, detail="its topic is read no more", original=original)
        read = deciding.read(original, self._tools.clock.now())
        known = await self._tools.people.load_or_make_up(read.subjects())
        match deciding.decide(read, known):
            case GivenUp(error):
                return Judgement(letter=letter, decision=FAILS_AGAIN, detail=error.code, original=original)
            case Projected():
                return Judgement(letter=letter, decision=PROJECTED, original=original)
            case Unrouted(_, reason):
                return Judgement(letter=letter, decision=NOBODY_TOLD, detail=reason, original=original)
            case Ignored():
                return Judgement(letter=letter, decision=NOBODY_TOLD, detail="unknown type", original=original)
            case Routed(messages):
                return await self._judge_messages(letter, original, messages)

    async def _judge_messages(self, letter: Letter, original: Record, messages: Sequence[Message]) -> Judgement:
        judged = [await self.judge_message(letter, original, message) for message in messages]
        ranks = (WOULD_SEND, WAITS, FAILS_AGAIN, DOUBT, OLDER, EXPIRED, REFUSED, ENDED)
        first = min(judged, key=lambda one: ranks.index(one.decision) if one.decision in ranks else len(ranks))
        return Judgement(
            letter=letter,
            decision=first.decision,
            detail=first.detail,
            original=original,
            marketing=any(one.marketing for one in judged),
            lanes=frozenset(lane for one in judged for lane in one.lanes),
            messages=len(messages),
            segments=sum(one.segments for one in judged),
            cost=sum(one.cost for one in judged),
            anew=tuple(message for one in judged for message in one.anew),
            anew_segments=sum(one.anew_segments for one in judged),
            anew_cost=sum(one.anew_cost for one in judged),
        )

    async def judge_message(
        self, letter: Letter, original: Record, message: Message, entry: Entry | None = None
    ) -> Judgement:
        """Return what would come of *message*; as if its row of the ledger were *entry*, if that is given."""
        now = (
            self._tools.clock.now()
        )  # before the ledger is read: what was claimed in time may be sent, and has not expired
        (found,) = await self._lookup.find([Question(message.id, message.recipient)])
        found = found if entry is None else Found(entry, found.known)
        decision, detail, segments, cost = await self._decide(message, found, now)
        template = self._tools.configuration.templates.by_id.get(message.template)
        its_new: tuple[Message, ...] = ()
        new_segments, new_cost = 0, 0.0
        if decision == EXPIRED and template is not None and may_be_new(message, template):
            its_new = (message,)
            (other,) = await self._lookup.find([Question(anew(message, template, now).id, message.recipient)])
            _, _, new_segments, new_cost = await self._decide(anew(message, template, now), other, now)
        return Judgement(
            letter=letter,
            decision=decision,
            detail=detail,
            original=original,
            message=message,
            marketing=message.category is Category.MARKETING,
            lanes=frozenset({message.lane}),
            segments=segments,
            cost=cost,
            anew=its_new,
            anew_segments=new_segments,
            anew_cost=new_cost,
        )

    async def _decide(self, message: Message, found: Found, now: datetime) -> tuple[str, str, int, float]:
        entry = found.entry
        if entry is not None and entry.fingerprint != message.event.fingerprint:
            return FAILS_AGAIN, DeadLetterReason.ID_REUSED, 0, 0.0
        if entry is not None and entry.is_settled:
            return ENDED, entry.state.value, 0, 0.0
        if entry is not None and message.step < entry.step:  # of a message that waited, only the latest copy goes on
            return OLDER, f"step {entry.step}", 0, 0.0
        if message.template not in self._tools.configuration.templates.by_id:
            return FAILS_AGAIN, DeadLetterReason.UNKNOWN_TEMPLATE, 0, 0.0
        doubtful = entry is not None and (entry.ambiguous or entry.given_up or entry.state is not State.RELEASED)
        try:
            checked = self._checking.check(message, found.known, now)
        except PermanentError as error:
            return FAILS_AGAIN, error.code, 0, 0.0
        match checked.verdict:
            case Refuse(_, reason):
                expired = DOUBT if doubtful else EXPIRED
                return (expired if reason is Reason.EXPIRED else REFUSED), reason, 0, 0.0
            case Defer(_, reason):
                return WAITS, reason, 0, 0.0
        match await self._foreseeing.verdict(message, checked, now):
            case Refuse(_, reason):
                return REFUSED, reason, 0, 0.0
            case Defer(_, reason):
                return WAITS, reason, 0, 0.0
        segments = checked.text.segmentation.segments if checked.text else 0
        return WOULD_SEND, "", segments, self._checking.cost(message, checked) or 0.0
