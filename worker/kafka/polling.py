"""What every runner does alike: poll in a task that is never cancelled, commit regularly, end in order, start over once."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from worker.errors import BrokerUnavailable, ConfigurationError
from worker.kafka.assigned import Assigned
from worker.kafka.source import Source
from worker.lifecycle import done_before
from worker.progress import Step
from worker.records import Place
from worker.telemetry.resources import Use

log = structlog.get_logger(__name__)
RETIRE_S = 15.0
REMEMBER_EVERY_S, LOOK_EVERY = 1.0, 5  # topics are looked at every fifth time


class Unfinished(NamedTuple):
    """
    The oldest unfinished record of a partition.

    Attributes:
        since: Monotonic seconds when it came to *step*.
        behind: Another record of its key is being worked on.
    """

    assigned: Assigned
    offset: int
    key: bytes | None
    step: Step
    since: float
    behind: bool = False


class Polling:
    """
    A source with its poller and committer.

    Args:
        make_source: Given what to do before partitions go, returns a source; called again for a rebuilt client.

    Attributes:
        finished_at: Monotonic seconds when any record was finished last.
    """

    def __init__(
        self, make_source: Callable[[Callable[[], Awaitable[None]]], Source], *, commit_every_s: float
    ) -> None:
        self._make_source = make_source
        self.source = make_source(self.before_revoke)
        self._commit_every_s = commit_every_s
        self._tasks: asyncio.TaskGroup | None = None
        self._poller: asyncio.Task[None] | None = None
        self._rebuilding = asyncio.Lock()
        self._joined, self._may_begin = asyncio.Event(), asyncio.Event()
        self.finished_at = time.monotonic()
        self.stopping = False

    async def joined(self) -> None:
        """Return once the source is a member of its group."""
        await self._joined.wait()

    def begin(self) -> None:
        """Let it read; before this it only joins, so that a start that fails elsewhere interrupts no work."""
        self._may_begin.set()

    async def poll_once(self, source: Source, tasks: asyncio.TaskGroup) -> None:
        """Read and work once."""
        raise NotImplementedError

    async def drain(self, drain_s: float) -> None:
        """Finish what is under way, within *drain_s*."""
        raise NotImplementedError

    async def before_revoke(self) -> None:
        """Finish what can be finished quickly; the whole group waits."""
        raise NotImplementedError

    async def let_go(self, place: Place) -> bool:
        """Stop working on a record, which is begun again; return false if it cannot be let go right now."""
        raise NotImplementedError

    def unfinished(self) -> list[Unfinished]:
        """Return the oldest unfinished record of each partition."""
        raise NotImplementedError

    def uses(self, name: str) -> Iterable[Use]:
        """Return how what it has only so much of is used."""
        raise NotImplementedError

    async def run(self, stop: asyncio.Event, drain_s: float) -> None:
        """
        Join the group, read and handle until *stop*; then finish what is under way, within *drain_s*, and commit.

        Raises:
            BrokerUnavailable: Kafka does not answer at the start.
        """
        if not await done_before(stop, self.source.start()):
            return
        self._joined.set()
        await done_before(stop, self._wait_to_begin())
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            committer = tasks.create_task(self._commit_regularly(), name=f"committer-{self.source.name}")
            remembering = tasks.create_task(self._remember_regularly(), name=f"positions-{self.source.name}")
            self._start_poller()
            await stop.wait()
            self.stopping = True
            if self._poller is not None:
                await asyncio.wait({self._poller}, timeout=drain_s)
            await self.drain(drain_s)
            committer.cancel()
            remembering.cancel()
            if self._poller is not None:
                self._poller.cancel()
        await self.source.stop()

    async def _wait_to_begin(self) -> None:
        await self._may_begin.wait()

    async def rebuild(self) -> None:
        """
        Put a new client in place of one that seems broken; attempts that run go on, and their keys stay theirs.

        Raises:
            BrokerUnavailable: The new one cannot connect.
        """
        async with self._rebuilding:
            if not self.stopping:
                await self._rebuild()

    async def rebuild_in_time(self) -> None:
        """Put a new client in place, however often it takes until the broker answers."""
        patiently = AsyncRetrying(
            retry=retry_if_exception_type((BrokerUnavailable, ConfigurationError)),
            wait=wait_random_exponential(multiplier=0.5, max=10),
        )
        await patiently(self.rebuild)

    async def _rebuild(self) -> None:
        broken, poller = self.source, self._poller
        log.warning("kafka.client_rebuilt", source=broken.name)
        self.source = self._make_source(self.before_revoke)
        self.source.flights = broken.flights
        broken.abandon()
        stopping = asyncio.create_task(broken.stop(), name=f"stop-{broken.name}")
        await asyncio.wait({stopping, poller} if poller else {stopping}, timeout=RETIRE_S)
        if poller is not None and not poller.done():
            poller.cancel()  # its client is given up, so there is no guard left to spoil
        await self.source.start()
        self._start_poller()

    def _start_poller(self) -> None:
        if self._tasks is not None and not self.stopping:
            self._poller = self._tasks.create_task(self._poll(self.source), name=f"poller-{self.source.name}")

    async def _poll(self, source: Source) -> None:
        tasks = self._tasks
        while tasks is not None and not self.stopping and source is self.source:
            await self.poll_once(source, tasks)

    async def _remember_regularly(self) -> None:
        while True:
            for _ in range(LOOK_EVERY):
                await asyncio.sleep(REMEMBER_EVERY_S)
                await self.source.memory.remember(self.source.assignments())
            await self.source.memory.look_for_recreated_topics()

    async def _commit_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._commit_every_s)
            await self.source.commit()
