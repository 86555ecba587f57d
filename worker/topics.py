"""The worker's own topics, by their names under one prefix."""

from collections.abc import Iterator
from dataclasses import dataclass

from schemas.messages import Lane


@dataclass(frozen=True, slots=True)
class Topics:
    """Names of the worker's own topics; none of them is ever an input."""

    prefix: str

    def lane(self, lane: Lane) -> str:
        """Messages."""
        return f"{self.prefix}.{lane.value}"

    def lane_due(self, lane: Lane) -> str:
        """Deferred messages whose time has come; read before the lane."""
        return f"{self.prefix}.{lane.value}.due"

    def lane_dead_letters(self, lane: Lane) -> str:
        """Messages that could not be handled."""
        return f"{self.prefix}.{lane.value}.dlq"

    @property
    def router_dead_letters(self) -> str:
        """Events that could not be handled."""
        return f"{self.prefix}.router.dlq"

    def dead_letters(self) -> list[str]:
        """Every topic of dead letters."""
        return [self.router_dead_letters, *map(self.lane_dead_letters, Lane)]

    @property
    def outcomes(self) -> str:
        """The results topic."""
        return f"{self.prefix}.outcomes"

    @property
    def replay(self) -> str:
        """Dead letters of the router on their way back."""
        return f"{self.prefix}.router.replay"

    @property
    def audit(self) -> str:
        """What operators did."""
        return f"{self.prefix}.audit"

    @property
    def control(self) -> str:
        """What operators paused; compacted."""
        return f"{self.prefix}.control"

    def sender_group(self, lane: Lane) -> str:
        """The group that reads a lane, and what is due on it."""
        return f"{self.prefix}-sender-{lane.value}"

    def router_group(self, source: str) -> str:
        """The group that reads an intake, or what is on its way back (`replay`)."""
        return f"{self.prefix}-router-{source}"

    def lane_groups(self) -> dict[str, str]:
        """Return the group that reads each lane's topics, by topic."""
        return {name: self.sender_group(lane) for lane in Lane for name in (self.lane(lane), self.lane_due(lane))}

    def all(self) -> Iterator[str]:
        """Yield every name."""
        for lane in Lane:
            yield self.lane(lane)
            yield self.lane_due(lane)
            yield self.lane_dead_letters(lane)
        yield self.router_dead_letters
        yield self.outcomes
        yield self.replay
        yield self.audit
        yield self.control
