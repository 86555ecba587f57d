"""A process says that it runs, with which configuration and keys; and how old keys in use are."""

import socket
import uuid

import structlog

from worker import __version__
from worker.clock import Clock
from worker.errors import StateRefused, StateUnavailable
from worker.reloading import Reloading
from worker.sealing import KeyRing
from worker.state.presence import Presence, Process
from worker.telemetry import metrics

log = structlog.get_logger(__name__)
EVERY_S, AGES_EVERY_S = 10.0, 3600.0
MONTH_S = 30.44 * 86_400
OLD_MONTHS, TOO_OLD_MONTHS = 6, 12


class Announcing:
    """
    Announces this process.

    Args:
        duties: Roles, lanes and intakes, in words.
    """

    def __init__(self, presence: Presence, reloading: Reloading, ring: KeyRing, clock: Clock, duties: str) -> None:
        self._presence = presence
        self._reloading = reloading
        self._ring = ring
        self._clock = clock
        self._duties = duties[:120]
        self._incarnation = uuid.uuid4().hex
        self._ages_told_at = float("-inf")
        self._told: set[tuple[str, str, int]] = set()

    async def run(self) -> None:
        """Announce for ever; belongs into a TaskGroup."""
        while True:
            await self.announce()
            await self._clock.sleep(EVERY_S)

    async def announce(self) -> None:
        """Announce once; while the state store is away, somebody else's word for it stands."""
        its = self._reloading
        process = Process(
            self._incarnation,
            socket.gethostname()[:120],
            self._duties,
            __version__,
            its.configuration.hash,
            bool(its.refused),
            self._ring.names,
            self._ring.current,
        )
        try:
            await self._presence.beat(process)
            if self._clock.monotonic() - self._ages_told_at >= AGES_EVERY_S:
                self._ages_told_at = self._clock.monotonic()
                await self._presence.note_ring_key(self._ring.current)
                await self._tell_ages()
        except (StateUnavailable, StateRefused):
            return

    async def leave(self) -> None:
        """Say that this process ends."""
        try:
            await self._presence.leave(self._incarnation)
        except (StateUnavailable, StateRefused):
            return  # in a minute it counts as gone anyway

    async def _tell_ages(self) -> None:
        metrics.KEY_AGE_S.clear()
        for key in await self._presence.keys():
            age_s = self._clock.now().timestamp() - key.since
            metrics.KEY_AGE_S.labels(key.kind, key.name).set(age_s)
            for months in (TOO_OLD_MONTHS, OLD_MONTHS):
                if age_s > months * MONTH_S and (key.kind, key.name, months) not in self._told:
                    self._told |= {(key.kind, key.name, months), (key.kind, key.name, OLD_MONTHS)}
                    log.warning("key.old", kind=key.kind, name=key.name, months=months, hint="sms-worker keys status")
                    break
