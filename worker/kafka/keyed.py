"""Work on many records of a partition at once, one per key; commit the lowest unfinished offset."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable

import structlog

from worker.errors import Stopping
from worker.kafka.polling import Polling, Unfinished
from worker.kafka.scheduler import Job, Scheduler
from worker.kafka.source import Source
from worker.progress import Progress, Step, follow
from worker.records import Place, Record
from worker.settings import LaneSettings
from worker.telemetry.resources import Resource, Use

log = structlog.get_logger(__name__)
POLL_WAIT_S = 0.1
WITH_THE_PROVIDER = frozenset({Step.SUBMIT, Step.SETTLE})  # what came of it must be written down
LOW_WATER = 0.5  # resume when half of what may wait is gone, so that fetched records are not thrown away


class KeyedRunner(Polling):
    """
    Runs a handler over a source.

    Args:
        make_source: Given what to do before partitions go, returns the source.
        handle: Deals with one record; returns when what came of it is durable. `Stopping` leaves it unfinished.
        limits: Slots, and how much may wait in memory.
        revoke_drain_s: How long a rebalance, and so every member of the group, waits for what is under way.
    """

    def __init__(
        self,
        make_source: Callable[[Callable[[], Awaitable[None]]], Source],
        handle: Callable[[Record], Awaitable[None]],
        limits: LaneSettings,
        *,
        revoke_drain_s: float,
        commit_every_s: float,
    ) -> None:
        super().__init__(make_source, commit_every_s=commit_every_s)
        self._handle = handle
        self._limits = limits
        self._revoke_drain_s = revoke_drain_s
        self._scheduler = Scheduler()
        # Every attempt that runs, across rebalances and rebuilt clients.
        self._running: dict[asyncio.Task[None], tuple[Job, Progress]] = {}
        self._cancelled: set[asyncio.Task[None] | None] = set()
        self._draining = False

    async def poll_once(self, source: Source, tasks: asyncio.TaskGroup) -> None:
        """Read what there is room for, and start what may start."""
        self._throttle(source)
        room = max(1, self._limits.buffered_records - self._scheduler.waiting)
        for assigned, record in await source.poll(min(room, 500), POLL_WAIT_S):
            self._scheduler.add(assigned, record)
        self._fill(tasks)

    async def drain(self, drain_s: float) -> None:
        """Start nothing more; wait for what is under way, within *drain_s*, and cancel the rest."""
        self._draining = True
        await self._wait(drain_s)
        if self._running:
            log.warning("work.cancelled", source=self.source.name, records=len(self._running))
        for task in list(self._running):
            task.cancel()

    def unfinished(self) -> list[Unfinished]:
        """Return the oldest unfinished record of each partition, and where it is."""
        running = {(job.assigned, job.record.offset): (job, progress) for job, progress in self._running.values()}
        found = []
        for assigned in self.source.assignments():
            if (offset := assigned.tracker.oldest) is None:
                continue
            job, progress = running.get((assigned, offset), (None, None))
            job = job or self._scheduler.find(assigned, offset)
            behind = job is not None and progress is None and self._scheduler.is_active(job.key)
            step, since = (progress.step, progress.since) if progress else (Step.QUEUED, assigned.moved_at)
            found.append(Unfinished(assigned, offset, job.record.key if job else None, step, since, behind))
        return found

    def uses(self, name: str) -> Iterable[Use]:
        """Return how many records are worked on, and how much waits in memory."""
        limits, its = self._limits, self._scheduler
        return [
            Use(Resource.SLOTS, name, its.active, limits.slots, its.waiting),
            Use(Resource.BUFFERED_RECORDS, name, its.waiting, limits.buffered_records),
            Use(Resource.BUFFERED_BYTES, name, its.waiting_bytes, limits.buffered_bytes),
        ]

    async def let_go(self, place: Place) -> bool:
        """Cancel the attempt at a record, which is then the next of its key; not while it is with the provider."""
        for task, (job, progress) in self._running.items():
            if job.record.place == place:
                if progress.step in WITH_THE_PROVIDER:
                    return False
                self._cancelled.add(task)
                task.cancel()
        return True

    def _throttle(self, source: Source) -> None:
        """Pause above what may wait, by count and by bytes; resume well below it."""
        limits, waiting = self._limits, self._scheduler
        level = max(waiting.waiting / limits.buffered_records, waiting.waiting_bytes / limits.buffered_bytes)
        if level >= 1:
            source.pause(paused=True)
        elif level < LOW_WATER:
            source.pause(paused=False)

    def _fill(self, tasks: asyncio.TaskGroup) -> None:
        while not self._draining and self._scheduler.active < self._limits.slots and (job := self._scheduler.next()):
            progress = Progress(job.record.place)
            task = tasks.create_task(self._work(job, progress, tasks), name=f"work-{self.source.name}")
            self._running[task] = job, progress
            task.add_done_callback(self._running.pop)

    async def _work(self, job: Job, progress: Progress, tasks: asyncio.TaskGroup) -> None:
        follow(progress)
        again, task = False, asyncio.current_task()
        try:
            await self._handle(job.record)
            job.assigned.finished(job.record)
            self.finished_at = time.monotonic()
        except Stopping:
            log.debug("work.left_unfinished", source=self.source.name)
        except asyncio.CancelledError:
            again = task is not None and task in self._cancelled
            if task is None or not again:
                raise
            self._cancelled.discard(task)
            task.uncancel()  # somebody wants it skipped: at its next turn it is
        finally:
            self._scheduler.done(job, again=again)
        self._fill(tasks)

    async def before_revoke(self) -> None:
        """Give what is under way a moment to finish; what does not is known by its key when it comes again."""
        self._draining = True
        await self._wait(self._revoke_drain_s)
        self._draining = self.stopping

    async def _wait(self, seconds: float) -> None:
        if self._running:
            await asyncio.wait(set(self._running), timeout=seconds)
