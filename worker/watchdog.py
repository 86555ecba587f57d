"""
Notices a worker that looks alive and stands still.

Its clock runs only while progress is possible: not while an account holds or grants no token, while enough waits in memory,
or, for ten minutes, while broker or database are away. What it finds rebuilds the client once, and then ends the process.
"""

import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import structlog

from worker.clock import Clock
from worker.errors import BrokerUnavailable, Stuck
from worker.settings import WatchdogSettings
from worker.telemetry import metrics

log = structlog.get_logger(__name__)
TICK_S = 1.0
EXIT_BLOCKED = 5
FORGIVEN_S = 3600.0  # a client that was rebuilt so long ago may be rebuilt again


class Symptom(StrEnum):
    """What was found: the closed list behind the metric's label."""

    FETCH_TASK_DEAD = "fetch_task_dead"
    NO_ASSIGNMENT = "no_assignment"
    NO_RECORDS = "no_records"
    WATERMARK_STUCK = "watermark_stuck"
    COMMIT_REFUSED = "commit_refused"


# What anything that is read, finished or committed refutes; commits may be refused while all is finished.
REFUTED = frozenset({Symptom.WATERMARK_STUCK, Symptom.NO_RECORDS})


class Excuse(StrEnum):
    """Why standing still is right."""

    THROTTLED = "throttled"
    PAUSED = "paused"
    AWAY = "away"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """
    What is seen of one runner at one moment. Durations in seconds.

    Attributes:
        lag: Records not read yet.
        idle_s: Since the last record was read.
        unmoved_s: Since the oldest unfinished record came to its step, or its partition moved; 0 if all is finished.
        throttled: That record waits for an account's rate, hold or requests.
        silent: The broker has answered no fetch of late.
        away: Broker or database do not answer, as far as is known.
        still_s: Since anything of the runner was read, finished or committed.
        refused_s: Since commits have been refused; 0 if they are not.
    """

    fetch_dead: bool = False
    assigned: bool = True
    lag: int = 0
    idle_s: float = 0.0
    unmoved_s: float = 0.0
    throttled: bool = False
    paused: bool = False
    silent: bool = False
    away: bool = False
    still_s: float = math.inf
    refused_s: float = 0.0


def symptom(sight: Sight) -> Symptom | None:
    """Return what would be wrong if it lasted."""
    if sight.fetch_dead:
        return Symptom.FETCH_TASK_DEAD
    if not sight.assigned:
        return Symptom.NO_ASSIGNMENT
    if sight.refused_s > TICK_S:
        return Symptom.COMMIT_REFUSED
    if sight.unmoved_s > TICK_S:
        return Symptom.WATERMARK_STUCK
    return Symptom.NO_RECORDS if sight.silent or (sight.lag > 0 and sight.idle_s > TICK_S) else None


def excuse(sight: Sight, found: Symptom) -> Excuse | None:
    """Return why *found* is no fault of the process; a dead task has no excuse."""
    if found is Symptom.FETCH_TASK_DEAD:
        return None
    if sight.away or sight.silent:
        return Excuse.AWAY
    if found is Symptom.WATERMARK_STUCK and sight.throttled:
        return Excuse.THROTTLED
    return Excuse.PAUSED if found is Symptom.NO_RECORDS and sight.paused else None


class Watched(Protocol):
    """A runner."""

    async def rebuild(self) -> None:
        """Put a new client in place of one that seems broken."""


class Watchdog:
    """
    Watches one runner.

    Args:
        look: Says what is to be seen of it now.
        tell: Writes its flight record to the log.
    """

    def __init__(
        self,
        name: str,
        runner: Watched,
        look: Callable[[], Sight],
        tell: Callable[[], None],
        settings: WatchdogSettings,
        clock: Clock,
    ) -> None:
        self._name = name
        self._runner = runner
        self._look = look
        self._tell = tell
        self._settings = settings
        self._clock = clock
        self._found: Symptom | None = None
        self._stuck_s = self._away_s = 0.0
        self._rebuilt_at = float("-inf")

    async def run(self) -> None:
        """
        Watch for ever; belongs into a TaskGroup.

        Raises:
            Stuck: Rebuilding the client has not helped.
        """
        at = self._clock.monotonic()
        while True:
            await self._clock.sleep(TICK_S)
            now = self._clock.monotonic()
            # A process that was stopped, or a loop that was busy, has seen one tick and not the time between.
            if self.note(self._look(), min(now - at, 2 * TICK_S)):
                await self._act()
            at = now

    def note(self, sight: Sight, seconds: float) -> bool:
        """Take in what was seen *seconds* after the last time; return whether it is time to act."""
        found = symptom(sight)
        if found is None:
            self._stuck_s = self._away_s = 0.0
            self._found = None
            return False
        self._found = found
        excused = excuse(sight, found)
        self._away_s = self._away_s + seconds if excused is Excuse.AWAY else 0.0
        if excused is None or (excused is Excuse.AWAY and self._away_s > self._settings.away_s):
            self._stuck_s += seconds
        if (
            found in REFUTED
        ):  # one record after the other may be the oldest: only a runner that does nothing stands still
            self._stuck_s = min(self._stuck_s, sight.still_s)
        return found is Symptom.FETCH_TASK_DEAD or self._stuck_s >= self._settings.stuck_s

    async def _act(self) -> None:
        metrics.child(metrics.WATCHDOG, self._name, self._found or "").inc()
        now = self._clock.monotonic()
        again = now - self._rebuilt_at < FORGIVEN_S
        log.error("watchdog.stuck", runner=self._name, symptom=self._found, rebuilt_before=again)
        self._tell()
        if again:
            raise Stuck(f"{self._name}: {self._found}, and a new client has not helped")
        self._rebuilt_at, self._stuck_s = now, 0.0
        try:
            await self._runner.rebuild()
        except BrokerUnavailable as error:
            raise Stuck(f"{self._name}: {self._found}, and no new client can connect") from error


def give_up_after(seconds: float) -> None:
    """End the process after *seconds*, whatever hangs by then."""
    timer = threading.Timer(seconds, os._exit, [4])
    timer.daemon = True
    timer.start()


class LoopGuard:
    """
    A thread that ends the process when its event loop has done nothing for too long.

    Args:
        blocked_s: How long is too long.
        end: Called then; ends the process.
        tell: Writes the flight record to the log first. It is called in the guard's thread, while the loop stands still.
    """

    def __init__(
        self, blocked_s: float, end: Callable[[int], None] = os._exit, tell: Callable[[], None] = lambda: None
    ) -> None:
        self._blocked_s = blocked_s
        self._tell = tell
        self._end = end
        self._beat = time.monotonic()
        self._stopped = threading.Event()
        self._loop_thread = threading.get_ident()

    async def beat(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Show that the loop runs, and measure how late it is; belongs into a TaskGroup."""
        threading.Thread(target=self._watch, name="loop-guard", daemon=True).start()
        try:
            while True:
                self._beat = time.monotonic()
                await sleep(TICK_S / 2)
                metrics.LOOP_LATE_S.observe(max(0.0, time.monotonic() - self._beat - TICK_S / 2))
        finally:
            self._stopped.set()

    def _watch(self) -> None:
        looked = time.monotonic()
        while not self._stopped.wait(TICK_S):
            now = time.monotonic()
            if now - looked > 3 * TICK_S:  # this thread stood still as well: the whole process was stopped
                self._beat = now
            looked = now
            if now - self._beat > self._blocked_s:
                frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001  the one way to see another thread
                where = "".join(traceback.format_stack(frame)[-6:]) if frame else ""
                log.critical("watchdog.loop_blocked", seconds=round(now - self._beat, 1), stack=where)
                with suppress(Exception):  # what it looks at may be half changed
                    self._tell()
                self._end(EXIT_BLOCKED)
                return
