"""What operators asked for, as this process last heard: kept up to date by a service, and read without waiting."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import structlog

from worker.clock import Clock
from worker.errors import BrokerUnavailable, DeadLetterReason, PermanentError, StateRefused, StateUnavailable
from worker.records import Place, Record, Skip
from worker.telemetry import metrics

log = structlog.get_logger(__name__)
EVERY_S = 1.0


class Book(Protocol):
    """Where it is written down."""

    async def skips(self) -> Mapping[Place, Skip]:
        """Return every record that was given up."""

    async def floods(self) -> Mapping[str, str]:
        """Return what holds, and why."""


class Operations:
    """
    What operators asked for.

    Attributes:
        on_skip: Called with the place of each record that is newly given up; again a second later, if it says false.
        on_flood: Called with each scope that holds newly, or holds no more.
    """

    def __init__(self, book: Book, clock: Clock) -> None:
        self._book = book
        self._clock = clock
        self._skips: Mapping[Place, Skip] = {}
        self._floods: Mapping[str, str] = {}
        self.on_skip: list[Callable[[Place], Awaitable[bool]]] = []
        self.on_flood: list[Callable[[str], None]] = []
        self._heard: set[Place] = set()
        self._told: set[Place] = set()

    async def run(self) -> None:
        """Hear for ever; belongs into a TaskGroup."""
        while True:
            await self.hear()
            await self._clock.sleep(EVERY_S)

    async def hear(self) -> None:
        """Ask the state store once; while it is away, what was heard last stands."""
        try:
            skips, floods = await self._book.skips(), await self._book.floods()
        except (StateUnavailable, StateRefused):
            return
        for scope in self._floods.keys() ^ floods.keys():
            for changed in self.on_flood:
                changed(scope)
        self._skips, self._floods = skips, floods
        self._told &= skips.keys()
        self._heard &= skips.keys()
        new = skips.keys() - self._told
        metrics.FLOODS.clear()
        for scope, reason in self._floods.items():
            metrics.FLOODS.labels(scope, reason).set(1)
        for place in sorted(new):
            if place not in self._heard:
                log.warning("operator.skip", **place._asdict())
                self._heard.add(place)
            try:
                if all([await tell(place) for tell in self.on_skip]):
                    self._told.add(place)
            except BrokerUnavailable:
                self._told.add(place)
                log.warning("operator.skip_waits", **place._asdict())  # it is skipped when it is read next

    def given_up(self, record: Record) -> PermanentError | None:
        """Return why *record* is to be a dead letter, if an operator gave it up."""
        skip = self._skips.get(record.place) if self._skips else None
        if skip is None or skip.record_ms not in (None, record.timestamp_ms):
            return None
        return PermanentError(DeadLetterReason.SKIPPED, f"an operator gave it up: {skip.reason}")

    def flood(self, scope: str) -> str | None:
        """Return why *scope* (`template:NAME`, `account:NAME`) holds, if it does."""
        return self._floods.get(scope)
