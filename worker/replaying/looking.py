"""Looking at dead letters: the newest, how many there are of what, and what a replay would do."""

from collections import Counter
from collections.abc import Callable, Sequence

from worker.kafka.scanning import fetch_records
from worker.records import Place
from worker.replaying.judging import Judge, Judgement
from worker.replaying.letters import Letter, LetterFilter
from worker.replaying.putting_back import REPLAYED, Figures, Wish, chosen_letters, judged_letters, left_because
from worker.tools import Tools

COUNTED_BY = ("stage", "reason", "event-type", "template", "field")


async def newest_letters(tools: Tools, wanted: LetterFilter, limit: int, *, every: bool) -> list[Letter]:
    """Return the newest letters in order, never holding more than twice as many."""
    newest: list[Letter] = []
    async for letter in chosen_letters(tools, wanted, every=every):
        newest.append(letter)
        if len(newest) >= 2 * limit:
            newest = sorted(newest, key=_age)[-limit:]
    return sorted(newest, key=_age)[-limit:]


def _age(letter: Letter) -> int:
    return letter.time_ms


async def count_letters(
    tools: Tools, wanted: LetterFilter, *, every: bool, by: Sequence[str] = COUNTED_BY
) -> Counter[tuple[str, ...]]:
    """Return how many letters there are, by headers."""
    counts: Counter[tuple[str, ...]] = Counter()
    async for letter in chosen_letters(tools, wanted, every=every):
        counts[tuple(letter.headers.get(name, "") for name in by)] += 1
    return counts


async def judge_at(tools: Tools, place: Place) -> Judgement | None:
    """Return the letter at *place* with what today's rules would decide; None if its topic dropped it."""
    record = (await fetch_records(tools.configuration.settings.kafka, [place])).get(place)
    if record is None:
        return None
    (judged,) = await Judge(tools).judge([Letter(record)])
    return judged


async def rehearse(
    tools: Tools, wanted: LetterFilter, wish: Wish, figures: Figures, tell: Callable[[int], object] = lambda _: None
) -> None:
    """Count into *figures* what a replay would do, and do nothing; *tell* hears how many were looked at."""
    async for piece in judged_letters(tools, chosen_letters(tools, wanted)):
        for judged in piece:
            if wish.most is not None and figures.became[REPLAYED] >= wish.most:
                return
            why_not = left_because(judged, wish)
            figures.note(judged, why_not or REPLAYED)
            if why_not is None:
                figures.count(judged, as_new=wish.as_new)
        tell(figures.chosen)
