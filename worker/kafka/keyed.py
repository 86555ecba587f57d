"""Work on many records of a partition at once, one per key; commit the lowest unfinished offset."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from structlog.contextvars import bound_contextvars

from worker.errors import Stopping
from worker.kafka.scheduler import Job, Scheduler
from worker.kafka.source import Source
from worker.records import Record
from worker.settings import LaneSettings

log = structlog.get_logger(__name__)
POLL_WAIT_S = 0.1
LOW_WATER = 0.5  # resume when half of what may wait is gone, so that fetched records are not thrown away


class KeyedRunner:
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
        self.source = make_source(self._before_revoke)
        self._handle = handle
        self._limits = limits
        self._revoke_drain_s = revoke_drain_s
        self._commit_every_s = commit_every_s
        self._scheduler = Scheduler()
        self._running: set[asyncio.Task[None]] = set()
        self._draining = False
        self._stopping = False

    @property
    def in_flight(self) -> int:
        """How many records are being worked on."""
        return self._scheduler.active

    async def run(self, stop: asyncio.Event, drain_s: float) -> None:
        """Read and handle until *stop*; then finish what is under way, within *drain_s*, and commit."""
        async with asyncio.TaskGroup() as tasks:
            committer = tasks.create_task(self._commit_regularly(), name=f"committer-{self.source.name}")
            while not stop.is_set():
                self._throttle()
                room = max(1, self._limits.buffered_records - self._scheduler.waiting)
                for assigned, record in await self.source.poll(min(room, 500), POLL_WAIT_S):
                    self._scheduler.add(assigned, record)
                self._fill(tasks)
            self._stopping = self._draining = True
            await self._drain(drain_s)
            committer.cancel()
        await self.source.stop()

    def _throttle(self) -> None:
        """Pause above what may wait, by count and by bytes; resume well below it."""
        limits, waiting = self._limits, self._scheduler
        level = max(waiting.waiting / limits.buffered_records, waiting.waiting_bytes / limits.buffered_bytes)
        if level >= 1:
            self.source.pause(paused=True)
        elif level < LOW_WATER:
            self.source.pause(paused=False)

    def _fill(self, tasks: asyncio.TaskGroup) -> None:
        while not self._draining and self._scheduler.active < self._limits.slots and (job := self._scheduler.next()):
            task = tasks.create_task(self._work(job, tasks), name=f"work-{self.source.name}")
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _work(self, job: Job, tasks: asyncio.TaskGroup) -> None:
        try:
            with bound_contextvars(topic=job.record.topic, partition=job.record.partition, offset=job.record.offset):
                await self._handle(job.record)
            job.assigned.finished(job.record)
        except Stopping:
            log.debug("work.left_unfinished", source=self.source.name)
        finally:
            self._scheduler.done(job)
        self._fill(tasks)

    async def _commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._commit_every_s)
            await self.source.commit()

    async def _before_revoke(self) -> None:
        self._draining = True
        await self._wait(self._revoke_drain_s)
        self._draining = self._stopping

    async def _drain(self, drain_s: float) -> None:
        await self._wait(drain_s)
        if self._running:
            log.warning("work.cancelled", source=self.source.name, records=len(self._running))
        for task in list(self._running):
            task.cancel()

    async def _wait(self, seconds: float) -> None:
        if self._running:
            await asyncio.wait(set(self._running), timeout=seconds)
