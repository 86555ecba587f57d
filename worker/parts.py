"""The parts of a worker, opened from its configuration; `app.py` puts them together and runs them."""

import uuid
from collections.abc import Awaitable, Callable, Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import structlog

from schemas.messages import Category, Lane
from worker.clock import Clock
from worker.delivery.accounts import Account
from worker.delivery.attempts import Attempts
from worker.delivery.handover import Handover
from worker.delivery.queue import FenceQueue
from worker.delivery.verdicts import Provider
from worker.kafka.batched import BatchRunner
from worker.kafka.clients import make_consumer, make_producer
from worker.kafka.keyed import KeyedRunner
from worker.kafka.sink import Sink, open_sink
from worker.kafka.source import Source
from worker.letters import LaneLetters
from worker.policy.checking import Checking
from worker.providers.octopush import open_octopush
from worker.providers.simulation import Simulation
from worker.records import Record
from worker.results import Outcomes
from worker.router import Router
from worker.routing.deciding import Deciding
from worker.routing.loading import Configuration
from worker.sealing import Pepper, load_key_ring, load_pepper
from worker.sender import Sender
from worker.settings import DeliveryMode, Intake
from worker.state.batching import hold_until_back
from worker.state.database import Database, check_schema, open_database
from worker.state.fence import FenceStore
from worker.state.holding import HoldingPeople, HoldingProjector
from worker.state.ledger import BatchedSettler, Ledger
from worker.state.lookup import BatchedLookup, Lookup
from worker.state.people import People
from worker.state.projection import Projector
from worker.telemetry import metrics
from worker.topics import Topics

log = structlog.get_logger(__name__)
CAUGHT_UP_EVERY_S = 2.0
# The slowest member of a group stops every member; ledger and active keys make longer draining needless.
URGENT_DRAIN_S, DRAIN_S = 1.0, 5.0

Runner = BatchRunner | KeyedRunner


@dataclass
class Stage:
    """
    What a role runs.

    Attributes:
        runners: What reads Kafka, by name.
        services: What answers them in the background; none ever ends by itself.
        queues: Where messages wait for the fence.
        sinks: What writes to Kafka, by name.
        first_start: No contact or consent was ever projected.
    """

    runners: dict[str, Runner] = field(default_factory=dict)
    services: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    queues: list[FenceQueue] = field(default_factory=list)
    sinks: dict[str, Sink] = field(default_factory=dict)
    first_start: bool = False


@dataclass(frozen=True)
class Shared:
    """What both roles use."""

    configuration: Configuration
    clock: Clock
    pepper: Pepper
    database: Database
    people: People
    outcomes: Outcomes
    topics: Topics


async def open_shared(configuration: Configuration, clock: Clock, stack: AsyncExitStack) -> Shared:
    """Read the secrets, open the state store, and make sure that it is ours."""
    settings = configuration.settings
    ring = load_key_ring(settings.key_ring_file, create=not settings.production)
    pepper = load_pepper(settings.pepper_file, create=not settings.production)
    database = await stack.enter_async_context(open_database(settings.database))
    await check_schema(database, settings.database.url.get_secret_value())
    await database.claim_identity(settings.deployment, pepper)
    topics = Topics(settings.kafka.prefix)
    outcomes = Outcomes(topics.outcomes, settings.deployment)
    return Shared(configuration, clock, pepper, database, People(database, ring), outcomes, topics)


async def open_router(shared: Shared, stage: Stage, stack: AsyncExitStack) -> None:
    """Add a router for each intake that has topics."""
    settings = shared.configuration.settings
    projector = Projector(shared.database, shared.people, shared.pepper)
    if (control := settings.intakes.get(Intake.CONTROL)) is not None:
        stage.first_start = await projector.begin([topic.name for topic in control.topics])
    for intake, its in settings.intakes.items():
        if its.topics:
            sink = stage.sinks[intake] = await stack.enter_async_context(open_sink(make_producer(settings.kafka)))
            telling = _telling(HoldingProjector(projector), shared.clock) if intake is Intake.CONTROL else None
            stage.runners[intake] = BatchRunner(
                _source(shared, intake, f"router-{intake}", {topic.name: topic.start for topic in its.topics}),
                _router(shared, intake, projector, sink).handle,
                poll_records=its.poll_records,
                revoke_drain_s=URGENT_DRAIN_S if intake is Intake.URGENT else DRAIN_S,
                commit_every_s=settings.kafka.commit_every_s,
                after_poll=telling,
            )


def _router(shared: Shared, intake: Intake, projector: Projector, sink: Sink) -> Router:
    settings = shared.configuration.settings
    inputs = {topic.name: topic for topic in settings.intakes[intake].topics}
    deciding = Deciding(intake, settings.deployment, inputs, shared.configuration.table, shared.pepper)
    people, projecting = HoldingPeople(shared.people), HoldingProjector(projector)
    return Router(
        intake, deciding, people, projecting, sink, shared.topics, shared.outcomes, shared.pepper, shared.clock
    )


def _source(shared: Shared, name: str, group: str, starts: dict[str, str]) -> Callable[..., Source]:
    urgent = "urgent" in name
    kafka = shared.configuration.settings.kafka
    drain_s = URGENT_DRAIN_S if urgent else DRAIN_S
    consumer = make_consumer(kafka, f"{kafka.prefix}-{group}", drain_s=drain_s, urgent=urgent)
    return lambda before_revoke: Source(name, consumer, starts, before_revoke)  # type: ignore[arg-type]


def _telling(projector: HoldingProjector, clock: Clock) -> Callable[[Source], Awaitable[None]]:
    """Write down, every two seconds, up to when consent is known."""
    told_at = float("-inf")

    async def tell(source: Source) -> None:
        nonlocal told_at
        if clock.monotonic() - told_at >= CAUGHT_UP_EVERY_S and (behind := source.behind_s()):
            await projector.caught_up(behind)
            told_at = clock.monotonic()

    return tell


async def open_senders(shared: Shared, stage: Stage, lanes: Collection[Lane], stack: AsyncExitStack) -> None:
    """Add a sender for each of *lanes*."""
    settings = shared.configuration.settings
    lookup = BatchedLookup(Lookup(shared.database, shared.people))
    settler = BatchedSettler(Ledger(shared.database))
    stage.services |= {"lookup": lookup.run, "settler": settler.run}
    handovers = await _open_accounts(shared, stage, settler, stack)
    configuration = shared.configuration
    checking = Checking(
        configuration.templates, shared.pepper, settings.delivery, configuration.accounts.stop_mentions()
    )
    for lane in lanes:
        name = f"sender-{lane}"
        sink = stage.sinks[name] = await stack.enter_async_context(open_sink(make_producer(settings.kafka)))
        people, topic = HoldingPeople(shared.people), shared.topics.lane_dead_letters(lane)
        letters = LaneLetters(lane, topic, people, sink, shared.outcomes, shared.pepper, shared.clock)
        sender = Sender(lookup, checking, handovers, sink, shared.outcomes, letters, shared.clock)
        stage.runners[name] = KeyedRunner(
            _source(shared, name, name, {shared.topics.lane(lane): "earliest"}),
            _counting(lane, sender.handle),
            settings.lane(lane),
            revoke_drain_s=URGENT_DRAIN_S if lane is Lane.URGENT else DRAIN_S,
            commit_every_s=settings.kafka.commit_every_s,
        )


def _counting(lane: Lane, handle: Callable[[Record], Awaitable[None]]) -> Callable[[Record], Awaitable[None]]:
    read = metrics.child(metrics.MESSAGES_READ, lane)

    async def counted(record: Record) -> None:
        read.inc()
        await handle(record)

    return counted


async def _open_accounts(
    shared: Shared, stage: Stage, settler: BatchedSettler, stack: AsyncExitStack
) -> dict[Category, Handover]:
    """Open each account once, however many categories use it."""
    accounts, settings, clock = shared.configuration.accounts, shared.configuration.settings, shared.clock
    incarnation = uuid.uuid4().hex
    fences = FenceStore(shared.database, incarnation, settings.projection_max_age_s)

    async def hold(name: str, seconds: float, reason: str) -> None:
        metrics.child(metrics.ACCOUNT_HOLDS, name, reason).inc()
        log.warning("account.held", account=name, seconds=round(seconds, 2), reason=reason)
        await hold_until_back("hold")(fences.hold, name, seconds, reason)

    opened: dict[str, Handover] = {}
    for name in dict.fromkeys(accounts.of(category)[0] for category in Category):
        account = accounts.accounts[name]
        await fences.open_account(name)
        queue = FenceQueue(name, account, fences, clock)
        provider = await _open_provider(name, account, settings.delivery.mode, stack)
        opened[name] = Handover(incarnation, queue, Attempts(name, account, provider, clock, hold), settler, clock)
        stage.queues.append(queue)
        stage.services[f"fence-{name}"] = queue.run
    return {category: opened[accounts.of(category)[0]] for category in Category}


async def _open_provider(name: str, account: Account, mode: DeliveryMode, stack: AsyncExitStack) -> Provider:
    if mode is DeliveryMode.SIMULATE:
        return Simulation()
    return await stack.enter_async_context(open_octopush(account, *account.credentials.read(name)))
