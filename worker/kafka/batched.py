"""Work on a polled batch at a time, in order; while its writes are acknowledged, the next batch is prepared."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from worker.kafka.assigned import Assigned
from worker.kafka.source import Source
from worker.records import Record

POLL_WAIT_S = 0.1
BATCHES_IN_FLIGHT = 2

# Prepares a batch; what it returns is awaited for the acknowledgements.
Handle = Callable[[Sequence[Record]], Awaitable[Awaitable[object]]]


class BatchRunner:
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
        self.source = make_source(self._before_revoke)
        self._handle = handle
        self._poll_records = poll_records
        self._revoke_drain_s = revoke_drain_s
        self._commit_every_s = commit_every_s
        self._after_poll = after_poll
        self._pending: deque[asyncio.Task[None]] = deque()

    async def run(self, stop: asyncio.Event, drain_s: float) -> None:
        """Read and handle until *stop*; then wait for what was written, within *drain_s*, and commit."""
        async with asyncio.TaskGroup() as tasks:
            committer = tasks.create_task(self._commit_regularly(), name=f"committer-{self.source.name}")
            reader = tasks.create_task(self._read(stop, tasks), name=f"reader-{self.source.name}")
            await stop.wait()
            await asyncio.wait({reader}, timeout=drain_s)
            await self._wait(drain_s)
            for task in (reader, committer, *self._pending):
                task.cancel()
        await self.source.stop()

    async def _read(self, stop: asyncio.Event, tasks: asyncio.TaskGroup) -> None:
        while not stop.is_set():
            batch = await self.source.poll(self._poll_records, POLL_WAIT_S)
            if batch:
                acknowledged = await self._handle([record for _, record in batch])
                finishing = self._finish(batch, acknowledged)
                self._pending.append(tasks.create_task(finishing, name=f"acks-{self.source.name}"))
            while self._pending and (len(self._pending) >= BATCHES_IN_FLIGHT or self._pending[0].done()):
                await self._pending[0]
                self._pending.popleft()
            if self._after_poll is not None:
                await self._after_poll(self.source)

    async def _finish(self, batch: Sequence[tuple[Assigned, Record]], acknowledged: Awaitable[object]) -> None:
        await acknowledged
        for assigned, record in batch:
            assigned.finished(record)

    async def _commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._commit_every_s)
            await self.source.commit()

    async def _before_revoke(self) -> None:
        await self._wait(self._revoke_drain_s)

    async def _wait(self, seconds: float) -> None:
        unfinished = {task for task in self._pending if not task.done()}
        if unfinished:
            await asyncio.wait(unfinished, timeout=seconds)
