"""The abuse guard while one batch passes the fence: each code that goes counts for the next."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.delivery.asks import Ask
from worker.policy.caps import Counted
from worker.policy.guard import REASON_OF, REQUESTED, SPENT, Finding, Lately, Standing, Tally, Watched, find
from worker.policy.verdicts import Refuse, suppress


@dataclass(frozen=True, slots=True)
class Found:
    """What the guard found of a code: refused, or only seen."""

    finding: Finding
    watched: Watched

    @property
    def refused(self) -> bool:
        """Whether the guard's word counts."""
        return self.watched.rules.mode == "enforce"


@dataclass
class Watch:
    """
    What the guard knows, and what this batch adds.

    Attributes:
        found: What spoke against codes.
        passed: Codes that go.
    """

    lately: Lately
    now: float
    found: list[Found] = field(default_factory=list)
    passed: list[Ask] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Copy what changes."""
        its, self._seen = self.lately, dict[str, Found]()
        neighbours = {block: dict(numbers) for block, numbers in its.neighbours.items()}
        self._tallies, self._neighbours, self._standings = dict(its.tallies), neighbours, dict(its.standings)
        self.lately = Lately(self._tallies, self._neighbours, self._standings)

    def verdict(self, ask: Ask, counted: Sequence[Counted]) -> Refuse | None:
        """Return a refusal, if the guard refuses; whatever it finds is written down."""
        watched = ask.limits.watched
        if watched is None or ask.person is None or watched.rules.mode == "off":
            return None
        finding = find(watched, ask.person, ask.message_id, counted, self.lately, self.now)
        if finding is None:
            return None
        found = Found(finding, watched)
        if not found.refused:
            self._seen[ask.message_id] = found  # counted once it goes: it may ask again and again meanwhile
            return None
        self.found.append(found)
        if finding.is_new:
            until = self.now + watched.rules.block_for.total_seconds()
            self._standings[finding.scope] = Standing(until, 0.0, REASON_OF[finding.rule])
        return suppress(REASON_OF[finding.rule])

    def goes(self, ask: Ask) -> None:
        """Count a code that goes."""
        watched = ask.limits.watched
        if watched is None or ask.person is None or watched.rules.mode == "off":
            return
        self.passed.append(ask)
        if (found := self._seen.pop(ask.message_id, None)) is not None:
            self.found.append(found)
        self._neighbours.setdefault(watched.block, {})[ask.person] = self.now
        for name, amount in ((REQUESTED + watched.country, 1.0), (SPENT, watched.cost)):
            its = self._tallies.get(name, Tally())
            self._tallies[name] = its._replace(hour=its.hour + amount, day=its.day + amount)
