"""A run of replays: letters are chosen, judged, put back at a rate, and every one of them is accounted for."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from schemas.messages import Lane
from worker.auditing import audit_record
from worker.kafka.scanning import scan
from worker.messages import anew, lane_record
from worker.records import Outgoing
from worker.replaying import judging
from worker.replaying.judging import Judge, Judgement
from worker.replaying.letters import ROUTER_STAGE, Letter, LetterFilter
from worker.replaying.returning import letter_back
from worker.tools import Tools

PIECE = 50
REPLAYED, LEFT = "replayed", "left"
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


def letter_topics(tools: Tools, stage: str | None) -> list[str]:
    """Return the dead-letter topics of *stage* (`router`, a lane), or all."""
    topics = {ROUTER_STAGE: tools.topics.router_dead_letters}
    topics |= {lane.value: tools.topics.lane_dead_letters(lane) for lane in Lane}
    return [topic for name, topic in topics.items() if stage in (None, name)]


async def chosen_letters(tools: Tools, wanted: LetterFilter, *, every: bool = False) -> AsyncIterator[Letter]:
    """Yield the letters that *wanted* means; those already handled only if *every*."""
    topics = letter_topics(tools, wanted.stage)
    handled = set() if every else await tools.operating.handled(topics)
    async for record in scan(tools.configuration.settings.kafka, topics, wanted.since):
        letter = Letter(record)
        if letter.place not in handled and wanted.means(letter):
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
        tell: Called after each piece with the figures so far.
    """

    def __init__(self, tools: Tools, wish: Wish, tell: Callable[[Figures], None] = lambda _: None) -> None:
        self._tools = tools
        self._wish = wish
        self._tell = tell
        self._at = tools.clock.now()
        self.figures = Figures()

    async def run(self, wanted: LetterFilter) -> Figures:
        """
        Put back what *wanted* means, at the wish's rate; done again, it goes on where it stopped.

        Live messages go first: what is put back waits behind them at the fence, and events have a consumer of their own.
        """
        tools, wish, began = self._tools, self._wish, self._tools.clock.monotonic()
        told = {"run": wish.run, "filters": wanted.told(), "as_new": wish.as_new, "yes_marketing": wish.yes_marketing}
        await tools.sink.publish(audit_record(tools.topics, "dead-letters.replay", **told))
        async for piece in judged_letters(tools, chosen_letters(tools, wanted), at_once=max(1, int(wish.rate))):
            await self._put_back(piece)
            self._tell(self.figures)
            if self._is_full():
                break
            ahead_s = self.figures.became[REPLAYED] / wish.rate - (tools.clock.monotonic() - began)
            await tools.clock.sleep(max(0.0, ahead_s))
        done = audit_record(
            tools.topics,
            "dead-letters.replayed",
            run=wish.run,
            chosen=self.figures.chosen,
            became=dict(self.figures.became),
            segments=self.figures.segments,
        )
        await tools.sink.publish(done)
        return self.figures

    def _is_full(self) -> bool:
        return self._wish.most is not None and self.figures.became[REPLAYED] >= self._wish.most

    async def _put_back(self, piece: Sequence[Judgement]) -> None:
        """Publish first and note afterwards: what is published twice has its id, and is sent once."""
        records: list[Outgoing] = []
        handled = []
        for judged in piece:
            if self._is_full():
                break
            why_not = left_because(judged, self._wish)
            self.figures.note(judged, why_not or REPLAYED)
            if why_not is None:
                records += self._records(judged)
                self.figures.segments += judged.segments
                self.figures.cost += judged.cost
            if why_not in (None, judging.ENDED, judging.ERASED):
                handled.append(judged.letter.place)
        await (await self._tools.sink.enqueue(records))
        await self._tools.operating.mark_handled(handled, self._wish.run)

    def _records(self, judged: Judgement) -> list[Outgoing]:
        letter, topics, times = judged.letter, self._tools.topics, judged.letter.replays + 1
        if judged.decision == judging.EXPIRED:
            templates = self._tools.configuration.templates.by_id
            messages = [anew(message, templates[message.template], self._at) for message in judged.anew]
        elif judged.message is not None:
            messages = [judged.message.model_copy(update={"waiting_for": None})]
        else:
            return [letter_back(letter.record, topics.replay, self._wish.run, times)]
        again = [message.model_copy(update={"replays": times}) for message in messages]
        return [lane_record(topics.lane(message.lane), message) for message in again]


def left_because(judged: Judgement, wish: Wish) -> str | None:
    """Return why a letter is left where it is, or None if it goes back."""
    always = (judging.NOT_WHOLE, judging.ERASED, judging.ENDED, judging.DOUBT)
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
