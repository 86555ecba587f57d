"""The mover: puts messages whose time has come on their lane's due topic, in every sender, a mover for each lane."""

from collections.abc import Awaitable, Iterable, Sequence
from typing import Protocol

import structlog

from schemas.messages import Lane
from worker.clock import Clock
from worker.delivery.deferrals import Due
from worker.messages import MESSAGE_HEADERS
from worker.policy.verdicts import Reason
from worker.records import Outgoing
from worker.telemetry import metrics
from worker.topics import Topics

log = structlog.get_logger(__name__)
EVERY_S, FREE_EVERY_S = 0.5, 3.0
MOST_AT_ONCE = 500


class Waiting(Protocol):
    """The table of messages that wait; every call waits while the state store is away."""

    async def take(self, lane: Lane, most: int) -> Sequence[Due]:
        """Return messages that are due; nobody else gets them for a minute."""

    async def free(self, lane: Lane) -> None:
        """Let messages go that wait for a flood which holds no more."""

    async def moved(self, published: Sequence[Due]) -> None:
        """Delete what was published, unless it was deferred again."""


class Writer(Protocol):
    """Writes records."""

    async def enqueue(self, records: Iterable[Outgoing]) -> Awaitable[object]:
        """Put *records* in line; what is returned waits for the broker's word on all of them."""


class Mover:
    """
    Moves what is due in one lane.

    Published first and deleted afterwards: a crash between the two publishes a second copy, and the ledger knows it for one.
    """

    def __init__(
        self,
        lane: Lane,
        waiting: Waiting,
        writer: Writer,
        topics: Topics,
        clock: Clock,
    ) -> None:
        self._lane = lane
        self._waiting = waiting
        self._writer = writer
        self._topics = topics
        self._clock = clock

    async def run(self) -> None:
        """Move for ever; belongs into a TaskGroup."""
        freed_at = float("-inf")
        while True:
            if self._clock.monotonic() - freed_at >= FREE_EVERY_S:
                await self._waiting.free(self._lane)
                freed_at = self._clock.monotonic()
            if await self.move() < MOST_AT_ONCE:
                await self._clock.sleep(EVERY_S)

    async def move(self) -> int:
        """Move once; return how many."""
        due = await self._waiting.take(self._lane, MOST_AT_ONCE)
        if due:
            await (await self._writer.enqueue(map(self._record, due)))
            await self._waiting.moved(due)
            metrics.child(metrics.MOVED, self._lane).inc(len(due))
            log.debug("mover.moved", lane=self._lane, messages=len(due))
        return len(due)

    def _record(self, one: Due) -> Outgoing:
        due, lane = self._topics.lane_due(one.lane), self._topics.lane(one.lane)
        topic = lane if one.reason == Reason.REDRIVEN else due  # what an operator put back goes behind the lane
        return Outgoing(topic, one.recipient.encode(), one.message, MESSAGE_HEADERS)
