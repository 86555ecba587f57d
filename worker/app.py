"""A worker, whole: opens every part in order, runs them, and closes them in the other."""

import asyncio
import gc
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum

import structlog

from schemas.messages import Lane
from worker import __version__
from worker.clock import Clock, SystemClock
from worker.errors import StateRefused, StateUnavailable, Stuck
from worker.kafka.retaining import Retaining
from worker.kafka.source import Source
from worker.lifecycle import done_before
from worker.observing import Observer
from worker.overseeing import Overseer
from worker.parts.routing import open_router
from worker.parts.sending import open_senders
from worker.parts.shared import Shared, Stage, open_shared
from worker.presence import Announcing
from worker.records import Place
from worker.routing.loading import Configuration
from worker.settings import Intake
from worker.state.batching import hold_until_back
from worker.state.jobs import Job, Jobs
from worker.state.presence import Presence
from worker.state.telling import Telling
from worker.state.upkeep import Upkeep
from worker.telemetry import metrics
from worker.watchdog import LoopGuard, Watchdog, give_up_after
from worker.web.server import open_web

log = structlog.get_logger(__name__)
PING_EVERY_S, UPKEEP_EVERY_S = 2.0, 3600.0
LAST_WORD_S = 45.0  # beside two drains: commits, clients that leave, records in line


class Role(StrEnum):
    """What a process does."""

    ROUTER = "router"
    SENDER = "sender"


@dataclass(frozen=True, slots=True, kw_only=True)
class Duties:
    """
    What one process does; everything, unless said otherwise.

    Attributes:
        lanes: Which a sender serves.
        intakes: Which a router reads.
    """

    roles: Collection[Role] = tuple(Role)
    lanes: Collection[Lane] = tuple(Lane)
    intakes: Collection[Intake] = tuple(Intake)


class Worker:
    """
    Every part of a process, open.

    Attributes:
        port: Of health and metrics.
    """

    def __init__(self, shared: Shared, stage: Stage, duties: Duties) -> None:
        settings = shared.configuration.settings
        self._drain_s = settings.drain_s
        self._delivery = settings.delivery.mode.value
        self._stage = stage
        self._upkeep, self._jobs = Upkeep(shared.database), Jobs(shared.database)
        read = {topic for runner in stage.runners.values() for topic in runner.source.standing.topics}
        self._retaining = Retaining(settings.kafka, read, shared.clock)
        self._telling = Telling(shared.database, shared.clock)
        self._database, self._database_answers = shared.database, True
        self._clock = shared.clock
        self.overseer = Overseer(shared, stage, lambda: self._database_answers)
        self.observer = Observer(stage, shared.database, self.overseer, self._retaining, lambda: self._database_answers)
        self._operations, self._reloading = shared.operations, shared.reloading
        presence = Presence(shared.database)
        told = _in_words(duties)
        self._announcing = Announcing(presence, shared.reloading, shared.people.ring, shared.clock, told)
        shared.operations.on_skip.append(self._skip)
        self._guard = LoopGuard(settings.watchdog.blocked_s, tell=self.overseer.tell_all)
        self.port = 0

    async def run(self, stop: asyncio.Event, began: asyncio.Event | None = None) -> None:
        """
        Work until *stop*; then finish what is under way, publish, commit, and return. *began* is set once all runs.

        Raises:
            Stuck: A runner stood still; the others finished first, as one lane's fault must cut no other's requests.
        """
        ends, stuck, watching = asyncio.Event(), list[Stuck](), list[asyncio.Task[None]]()

        async def watch(dog: Watchdog) -> None:
            try:
                await dog.run()
            except Stuck as error:
                stuck.append(error)
                give_up_after(2 * self._drain_s + LAST_WORD_S)
                ends.set()

        async with asyncio.TaskGroup() as background:
            tasks = [background.create_task(_forever(run, name), name=name) for name, run in self._services().items()]
            tasks.append(background.create_task(_set_after(stop, ends), name="stop"))
            async with asyncio.TaskGroup() as runners:

                def begin_to_watch(names: Collection[str]) -> None:
                    for name in names:
                        dog = background.create_task(watch(self.overseer.watchdog(name)), name=f"watchdog-{name}")
                        watching.append(dog)

                await self._start(runners, ends, begin_to_watch)
                if began is not None:
                    began.set()
                await ends.wait()
                for task in watching:  # what stops stands still
                    task.cancel()
                for queue in self._stage.queues:
                    queue.close()
            for task in tasks:
                task.cancel()
        await self._announcing.leave()
        log.info("worker.stopped")
        if stuck:
            raise stuck[0]

    def _services(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """Return what runs beside the runners, and never ends by itself."""
        return {
            **self._stage.services,
            "database-ping": self._ping,
            "loop-guard": self._beat,
            "operations": self._operations.run,
            "telling": self._telling.run,
            "retaining": self._retaining.run,
            "upkeep": self._keep_up,
            "reloading": self._reloading.run,
            "announcing": self._announcing.run,
        }

    async def _start(
        self, tasks: asyncio.TaskGroup, stop: asyncio.Event, begin_to_watch: Callable[[Collection[str]], None]
    ) -> None:
        """Contacts and consents first: what is read next depends on them."""
        others = dict(self._stage.runners)
        if (control := others.pop(Intake.CONTROL, None)) is not None:
            tasks.create_task(control.run(stop, self._drain_s), name="control")
            control.begin()
            await done_before(stop, control.joined())
            begin_to_watch([Intake.CONTROL])
        await self._catch_up(control.source if control else None, stop)
        for name, runner in others.items():
            tasks.create_task(runner.run(stop, self._drain_s), name=name)
        for runner in self._stage.runners.values():
            await done_before(stop, runner.joined())
        for runner in others.values():
            runner.begin()
        begin_to_watch(others)
        gc.collect()
        gc.freeze()  # what lives as long as the process is never looked at again
        gc.set_threshold(50_000, 20, 20)
        if not stop.is_set():
            names = [str(name) for name in self._stage.runners]
            log.info("worker.running", runners=names, delivery=self._delivery, port=self.port)

    async def _catch_up(self, source: Source | None, stop: asyncio.Event) -> None:
        """
        At the very first start nobody's consent is known: read who agreed before anything else is read.

        In every process, until all partitions have been read by somebody: what is missing here another may be reading.

        Args:
            source: Of contacts and consents; None if this process reads none, and only waits for those that do.
            stop: Ends the waiting.
        """
        if self._stage.read_once is not None:
            log.info("worker.waits_for_contacts", reads_them=source is not None)
        while self._stage.read_once is not None and not stop.is_set():
            partitions = source.standing.partitions() if source is not None and source.ready.is_set() else None
            if (source is None or partitions is not None) and await self._stage.read_once(partitions):
                self._stage.read_once = None
            else:
                await self._clock.sleep(0.1)

    async def _ping(self) -> None:
        """Know whether the state store answers, and what time it is there."""
        while True:
            try:
                await self._clock.set()
                await self._database.require_writable()
                self._database_answers = True
            except (StateUnavailable, StateRefused):
                self._database_answers = False
            await self._clock.sleep(PING_EVERY_S)

    async def _keep_up(self) -> None:
        await hold_until_back("jobs")(self._jobs.expect)
        while True:
            await self._clock.sleep(random.uniform(0.5, 1.0) * UPKEEP_EVERY_S)  # noqa: S311  spreads processes
            try:
                log.info("state.upkeep", **await self._upkeep.run_once(self._clock.now()))
                await self._jobs.done(Job.UPKEEP)
            except (StateUnavailable, StateRefused) as error:
                log.warning("state.upkeep_failed", error=str(error))  # in an hour it is tried again

    async def _skip(self, place: Place) -> bool:
        """Let go of a record that an operator gave up, wherever it is; it is read again, and then becomes a dead letter."""
        return all([await runner.let_go(place) for runner in self._stage.runners.values()])

    async def _beat(self) -> None:
        await self._guard.beat(self._clock.sleep)

    def readiness(self) -> Mapping[str, bool]:
        """Return which parts work; the process is ready when all do."""
        stage = self._stage
        parts = {str(name): runner.source.ready.is_set() for name, runner in stage.runners.items()}
        written = not any(sink.held for sink in stage.sinks.values())
        answers = {"database": self._database_answers, "kafka": self.overseer.kafka_answers()}
        return {**parts, **answers, "kafka_writes": written}


def _in_words(duties: Duties) -> str:
    lanes = "" if set(duties.lanes) == set(Lane) else f" of {', '.join(duties.lanes)}"
    intakes = "" if set(duties.intakes) == set(Intake) else f" of {', '.join(duties.intakes)}"
    told = {Role.ROUTER: f"router{intakes}", Role.SENDER: f"sender{lanes}"}
    return " and ".join(told[role] for role in duties.roles)


async def _set_after(before: asyncio.Event, after: asyncio.Event) -> None:
    await before.wait()
    after.set()


async def _forever(run: Callable[[], Awaitable[None]], name: str) -> None:
    await run()
    raise RuntimeError(f"{name} ended, and the worker cannot go on without it")


@asynccontextmanager
async def open_worker(
    configuration: Configuration, duties: Duties | None = None, clock: Clock | None = None
) -> AsyncIterator[Worker]:
    """
    Open what *duties* need, all of them unless given; everything closes when the block ends.

    Raises:
        ConfigurationError: A secret is missing, or the database is another deployment's or version's.
        StateUnavailable: The database does not answer at the start.
    """
    settings, clock, duties = configuration.settings, clock or SystemClock(), duties or Duties()
    async with AsyncExitStack() as stack:
        shared, stage = await open_shared(configuration, clock, stack), Stage()
        if Role.SENDER in duties.roles:
            await open_senders(shared, stage, duties.lanes, stack)
        if Role.ROUTER in duties.roles:
            await open_router(shared, stage, duties.intakes, stack)
        worker = Worker(shared, stage, duties)
        worker.port = await stack.enter_async_context(
            open_web(
                settings.web, worker.readiness, worker.observer.observe, worker.overseer.why, shared.reloading.details
            )
        )
        metrics.child(metrics.INFO, __version__, settings.deployment).set(1)
        yield worker
