"""Work on a polled batch at a time, in order; while its writes are acknowledged, the next batch is prepared."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence

from worker.kafka.assigned import Assigned
from worker.kafka.polling import Polling, Unfinished
from worker.kafka.source import Source
from worker.progress import Step
from worker.records import Place, Record
from worker.telemetry.resources import Resource, Use

POLL_WAIT_S = 0.1
BATCHES_IN_FLIGHT = 2

# Prepares a batch; what it returns is awaited for the acknowledgements.
Handle = Callable[[Sequence[Record]], Awaitable[Awaitable[object]]]


class BatchRunner(Polling):
    """
    Runs a handler over a source, batch by batch.

    Args:
        make_source: Given what to do before partitions go, returns the source.
        handle: Called with one batch at a time; writes in order, and returns what to wait for.
        poll_records: The most in a batch.
        after_poll: Called after each poll, with the source.
    """

    def __init__(
        self,
        make_source: Callable[[Callable[[], Awaitable[None]]], Source],
        handle: Handle,
        *,
        poll_records: int,
        revoke_drain_s: float,
        commit_every_s: float,
        after_poll: Callable[[Source], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(make_source, commit_every_s=commit_every_s)
        self._handle = handle
        self._poll_records = poll_records
        self._revoke_drain_s = revoke_drain_s
        self._after_poll = after_poll
        self._pending: deque[asyncio.Task[None]] = deque()
        self._deciding: Sequence[tuple[Assigned, Record]] = ()
        self._since = time.monotonic()

    async def poll_once(self, source: Source, tasks: asyncio.TaskGroup) -> None:
        """Read a batch and prepare it, once there is room for its acknowledgements."""
        batch = await source.poll(self._poll_records, POLL_WAIT_S)
        if batch:
            self._deciding, self._since = batch, time.monotonic()
            acknowledged = await self._handle([record for _, record in batch])
            self._deciding, self._since = (), time.monotonic()
            self._pending.append(tasks.create_task(self._finish(batch, acknowledged), name=f"acks-{source.name}"))
        while self._pending and (len(self._pending) >= BATCHES_IN_FLIGHT or self._pending[0].done()):
            # Awaited itself, it would be cancelled with a poller that is given up, and every later one would end with it.
            await asyncio.wait({self._pending[0]})
            done = self._pending.popleft()
            if not done.cancelled():
                done.result()
        if self._after_poll is not None:
            await self._after_poll(source)

    async def drain(self, drain_s: float) -> None:
        """Wait for what was written, within *drain_s*."""
        await self._wait(drain_s)
        for task in self._pending:
            task.cancel()

    def unfinished(self) -> list[Unfinished]:
        """Return the oldest unfinished record of each partition, and where it is."""
        deciding = {(assigned, record.offset): record.key for assigned, record in self._deciding}
        found = []
        for assigned in self.source.assignments():
            if (offset := assigned.tracker.oldest) is not None:
                key, place = deciding.get((assigned, offset)), (assigned, offset)
                step = Step.DECIDING if place in deciding else Step.PUBLISH
                found.append(Unfinished(assigned, offset, key, step, self._since))
        return found

    def uses(self, name: str) -> Iterable[Use]:
        """Return how many batches are written, and not acknowledged yet."""
        under_way = sum(not task.done() for task in self._pending)
        return [Use(Resource.BATCHES, name, under_way, BATCHES_IN_FLIGHT, bool(self._deciding))]

    async def let_go(self, place: Place) -> bool:
        """Begin the batch that holds a record anew, by a new client, if it is still being decided on."""
        if any(record.place == place for _, record in self._deciding):
            await self.rebuild_in_time()
        return True

    async def before_revoke(self) -> None:
        """Wait a moment for what was written."""
        await self._wait(self._revoke_drain_s)

    async def _wait(self, seconds: float) -> None:
        unfinished = {task for task in self._pending if not task.done()}
        if unfinished:
            await asyncio.wait(unfinished, timeout=seconds)

    async def _finish(self, batch: Sequence[tuple[Assigned, Record]], acknowledged: Awaitable[object]) -> None:
        await acknowledged
        for assigned, record in batch:
            assigned.finished(record)
        self.finished_at = time.monotonic()
