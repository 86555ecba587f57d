"""A run of replays: letters are chosen, judged, put back at a rate, and every one of them is accounted for."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from schemas.messages import Lane, Message
from schemas.outcomes import OutcomeKind
from worker.auditing import audit_record, auditing_the_end
from worker.delivery.ledger import Entry, State
from worker.kafka.scanning import scan
from worker.messages import anew, lane_record
from worker.policy.verdicts import Reason
from worker.records import Outgoing, Place
from worker.replaying import judging
from worker.replaying.judging import Judge, Judgement
from worker.replaying.letters import ROUTER_STAGE, Letter, LetterFilter
from worker.replaying.live_first import LiveFirst, open_live_first
from worker.replaying.returning import letter_back
from worker.results import Facts, Outcomes
from worker.state.redriving import Redriving
from worker.tools import Tools

PIECE, STALE_S = 50, 5.0
REPLAYED, HANDLED = "replayed", "handled by somebody else meanwhile"
NEEDS_YES_MARKETING, NEVER_NEW = (
    "marketing, needs --yes-marketing",
    "has expired, and codes and marketing never go anew",
)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """
    What an operator asks of a run.

    Attributes:
        rate: Letters per second.
        most: At most so many letters are put back.
        as_new: What has expired is sent under a new id, where that is allowed.
        anyway: Letters that today's rules would give up again, too.
        quarantined: Letters that failed again after three replays, too.
    """

    run: str
    rate: float = 20.0
    most: int | None = None
    as_new: bool = False
    yes_marketing: bool = False
    anyway: bool = False
    quarantined: bool = False


@dataclass
class Figures:
    """What became of the letters of a run; `chosen` is the sum of `became`."""

    chosen: int = 0
    became: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    segments: int = 0
    cost: float = 0.0

    def note(self, judged: Judgement, became: str) -> None:
        """Count a letter."""
        self.chosen += 1
        self.became[became] += 1
        self.reasons[judged.letter.reason, judged.decision + (f": {judged.detail}" if judged.detail else "")] += 1

    def count(self, judged: Judgement, *, as_new: bool) -> None:
        """Count what a letter that goes back would send."""
        self.segments += judged.segments + (judged.anew_segments if as_new else 0)
        self.cost += judged.cost + (judged.anew_cost if as_new else 0.0)


def letter_topics(tools: Tools, stage: str | None) -> list[str]:
    """Return the dead-letter topics of *stage* (`router`, a lane), or all."""
    topics = {ROUTER_STAGE: tools.topics.router_dead_letters}
    topics |= {lane.value: tools.topics.lane_dead_letters(lane) for lane in Lane}
    return [topic for name, topic in topics.items() if stage in (None, name)]


async def chosen_letters(tools: Tools, wanted: LetterFilter, *, every: bool = False) -> AsyncIterator[Letter]:
    """Yield the letters that *wanted* means; those already handled only if *every*."""
    handled, partition = dict[int, int](), ("", -1)
    async for record in scan(tools.configuration.settings.kafka, letter_topics(tools, wanted.stage), wanted.since):
        if not every and partition != (record.topic, record.partition):
            partition = record.topic, record.partition
            handled = await tools.operating.handled(*partition)
        letter = Letter(record)
        if handled.get(record.offset) not in (0, record.timestamp_ms) and wanted.means(letter):
            yield letter


async def judged_letters(
    tools: Tools, letters: AsyncIterator[Letter], *, at_once: int = PIECE
) -> AsyncIterator[list[Judgement]]:
    """Yield *letters* with what today's rules would decide, at most fifty at a time."""
    judge, piece = Judge(tools), list[Letter]()
    async for letter in letters:
        piece.append(letter)
        if len(piece) >= min(PIECE, at_once):
            yield await judge.judge(piece)
            piece = []
    if piece:
        yield await judge.judge(piece)


class Run:
    """
    Puts letters back.

    Args:
        tell: Called after each piece with the figures so far, and with what the run waits for.
        figures: Filled as it goes on; somebody else's, who wants them even if it fails.
    """

    def __init__(
        self,
        tools: Tools,
        wish: Wish,
        tell: Callable[[Figures, str], None] = lambda _figures, _waits_for: None,
        figures: Figures | None = None,
    ) -> None:
        self._tools = tools
        self._wish = wish
        self._tell = tell
        self._redriving = Redriving(tools.database)
        self._outcomes = Outcomes(tools.topics.outcomes, tools.configuration.settings.deployment)
        self.figures = figures or Figures()

    async def run(self, wanted: LetterFilter) -> Figures:
        """
        Put back what *wanted* means, at the wish's rate; done again, it goes on where it stopped.

        However it ends, its figures are on the audit topic.
        """
        tools, wish = self._tools, self._wish
        told = {"run": wish.run, "filters": wanted.told(), "as_new": wish.as_new, "yes_marketing": wish.yes_marketing}
        await tools.sink.publish(audit_record(tools.topics, "dead-letters.replay", **told))
        async with (
            auditing_the_end(tools.topics, tools.sink, "dead-letters.replayed", self._told),
            open_live_first(tools, lambda what: self._tell(self.figures, what)) as live,
        ):
            await self._pieces(wanted, live)
        return self.figures

    async def _pieces(self, wanted: LetterFilter, live: LiveFirst) -> None:
        tools, wish, began = self._tools, self._wish, self._tools.clock.monotonic()
        judge = Judge(tools)
        async for piece in judged_letters(tools, chosen_letters(tools, wanted), at_once=max(1, int(wish.rate))):
            back = [judged for judged in piece if left_because(judged, wish) is None]
            lanes = {lane for judged in back for lane in judged.lanes}
            events = any(judged.letter.stage == ROUTER_STAGE for judged in back)
            waited_s = await live.let_in(sum(judged.messages for judged in back), lanes, events=events)
            await self._put_back(piece if waited_s < STALE_S else await judge.judge([one.letter for one in piece]))
            self._tell(self.figures, "")
            if self._is_full():
                break
            spent_s = tools.clock.monotonic() - began - live.waited_s  # what was waited for is not caught up with
            ahead_s = self.figures.became[REPLAYED] / wish.rate - spent_s
            await tools.clock.sleep(max(0.0, ahead_s))

    def _told(self) -> dict[str, Any]:
        its = self.figures
        return {"run": self._wish.run, "chosen": its.chosen, "became": dict(its.became), "segments": its.segments}

    def _is_full(self) -> bool:
        return self._wish.most is not None and self.figures.became[REPLAYED] >= self._wish.most

    async def _put_back(self, piece: Sequence[Judgement]) -> None:
        """Publish first and note afterwards: what is published twice has its id, and is sent once."""
        records: list[Outgoing] = []
        handled: dict[Place, int] = {}
        replaced: list[Message] = []
        elsewhere = await self._tools.operating.handled_among({one.letter.place: one.letter.time_ms for one in piece})
        for judged in piece:
            if self._is_full():
                break
            why_not = HANDLED if judged.letter.place in elsewhere else left_because(judged, self._wish)
            self.figures.note(judged, why_not or REPLAYED)
            if why_not is None:
                again, anew_for = self._records(judged)
                records += again
                replaced += anew_for
                self.figures.count(judged, as_new=self._wish.as_new)
            if why_not in (None, judging.ENDED, judging.ERASED):
                handled[judged.letter.place] = judged.letter.time_ms
        await (await self._tools.sink.enqueue(records))
        await self._end(replaced)
        await self._tools.operating.mark_handled(handled, self._wish.run)

    def _records(self, judged: Judgement) -> tuple[list[Outgoing], Sequence[Message]]:
        """Return what is written for a letter, and the messages in whose place new ones go."""
        letter, topics, times = judged.letter, self._tools.topics, judged.letter.replays + 1
        templates, now = self._tools.configuration.templates.by_id, self._tools.clock.now()
        expired = judged.anew if self._wish.as_new else ()
        messages = [anew(message, templates[message.template], now) for message in expired]
        records = []
        if judged.decision != judging.EXPIRED:
            if judged.message is not None:
                messages.append(judged.message.model_copy(update={"waiting_for": None}))
            else:
                records.append(letter_back(letter.record, topics.replay, self._wish.run, times))
        again = [message.model_copy(update={"replays": times}) for message in messages]
        return [*records, *(lane_record(topics.lane(message.lane), message) for message in again)], expired

    async def _end(self, expired: Sequence[Message]) -> None:
        """End what has expired, now that a new message is on its way: its event may be published again."""
        if not expired:
            return
        payloads, now = dict[Entry, bytes](), self._tools.clock.now()
        for message in expired:
            fresh = Entry(message_id=message.id, fingerprint=message.event.fingerprint, state=State.RELEASED)
            payloads[fresh] = self._outcomes.payload(message, OutcomeKind.EXPIRED, Reason.EXPIRED, Facts(), now)
        accounts = {self._tools.configuration.accounts.of(message.category)[0] for message in expired}
        ended = await self._redriving.end_expired(accounts, payloads)
        told = [
            self._outcomes.record(e.message_id, payload) for e, payload in payloads.items() if e.message_id in ended
        ]
        await (await self._tools.sink.enqueue(told))


def left_because(judged: Judgement, wish: Wish) -> str | None:
    """Return why a letter is left where it is, or None if it goes back."""
    always = (judging.NOT_WHOLE, judging.ERASED, judging.ENDED, judging.DOUBT, judging.OLDER)
    if judged.decision in always:
        return judged.decision
    if judged.original is None or (judged.message is None and judged.letter.stage != ROUTER_STAGE):
        return judging.FAILS_AGAIN
    if judged.quarantined and not wish.quarantined:
        return judging.QUARANTINED
    if judged.decision == judging.FAILS_AGAIN and not wish.anyway:
        return judging.FAILS_AGAIN
    if judged.marketing and not wish.yes_marketing:
        return NEEDS_YES_MARKETING
    if judged.decision == judging.EXPIRED:
        return _left_expired(judged, wish)
    return None


def _left_expired(judged: Judgement, wish: Wish) -> str | None:
    if not wish.as_new:
        return judging.EXPIRED
    return None if judged.anew else NEVER_NEW
