"""What both roles use, and what they fill: a stage of runners, services, queues and sinks."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Literal

from worker.certificates import Certificates
from worker.clock import Clock
from worker.delivery.queue import FenceQueue
from worker.kafka.batched import BatchRunner
from worker.kafka.clients import SecretFiles, make_consumer
from worker.kafka.keyed import KeyedRunner
from worker.kafka.sink import Sink
from worker.kafka.source import Source
from worker.operations import Operations
from worker.pausing import Pauses
from worker.reloading import Reloading
from worker.results import Outcomes
from worker.routing.loading import Configuration
from worker.sealing import Pepper
from worker.secret_files import load_key_ring, load_pepper
from worker.state.clock import StateClock
from worker.state.database import Database, open_database
from worker.state.fence import FenceStore
from worker.state.operating import Operating
from worker.state.people import People
from worker.state.positions import StoredPositions
from worker.state.schema import check_schema
from worker.topics import Topics

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
        queue_of: The same, by the name of the runner whose messages wait there.
        fences: Which decide for queues.
        sinks: What writes to Kafka, by name.
        before_scrape: Called before metrics are told.
        read_once: Says whether these partitions of contacts and consents have been read, where that was never so before;
            for None, whether somebody has found that so.
    """

    runners: dict[str, Runner] = field(default_factory=dict)
    services: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    queues: list[FenceQueue] = field(default_factory=list)
    queue_of: dict[str, FenceQueue] = field(default_factory=dict)
    fences: list[FenceStore] = field(default_factory=list)
    sinks: dict[str, Sink] = field(default_factory=dict)
    before_scrape: list[Callable[[], None]] = field(default_factory=list)
    read_once: Callable[[Collection[tuple[str, int]] | None], Awaitable[bool]] | None = None


@dataclass(frozen=True)
class Shared:
    """
    What both roles use.

    Attributes:
        clock: Whose time of day is the database's.
        operating: Where is written what operators asked for.
        operations: The same, as this process last heard.
        reloading: Tells who must know when the configuration changes.
        pauses: What operators paused.
    """

    configuration: Configuration
    clock: StateClock
    pepper: Pepper
    database: Database
    people: People
    outcomes: Outcomes
    topics: Topics
    operating: Operating
    operations: Operations
    reloading: Reloading
    pauses: Pauses


async def open_shared(configuration: Configuration, clock: Clock, stack: AsyncExitStack) -> Shared:
    """Read the secrets, open the state store, and make sure that it is ours."""
    settings = configuration.settings
    ring = load_key_ring(settings.key_ring_file, create=not settings.production)
    pepper = load_pepper(settings.pepper_file, create=not settings.production)
    database = await stack.enter_async_context(open_database(settings.database))
    await check_schema(database, settings.database.url.get_secret_value())
    await database.claim_identity(settings.deployment, pepper)
    told = StateClock(clock, database)
    await told.set()
    topics = Topics(settings.kafka.prefix)
    outcomes = Outcomes(topics.outcomes, settings.deployment)
    operating = Operating(database)
    operations = Operations(operating, told)
    await operations.hear()
    people = People(database, ring)
    reloading = Reloading(configuration, ring, told)
    certificates = Certificates(settings.kafka, settings.database)
    await certificates.look()
    reloading.watchers += [SecretFiles(settings.kafka).look, certificates.look]
    return Shared(
        configuration, told, pepper, database, people, outcomes, topics, operating, operations, reloading, Pauses()
    )


def source_maker(
    shared: Shared,
    name: str,
    starts: Mapping[str, Literal["earliest", "latest"]],
    *,
    urgent: bool,
    first: Collection[str] = (),
) -> Callable[[Callable[[], Awaitable[None]]], Source]:
    """Return what makes the source called *name*: a consumer and a group of its own."""
    kafka = shared.configuration.settings.kafka
    drain_s = URGENT_DRAIN_S if urgent else DRAIN_S

    def make(before_revoke: Callable[[], Awaitable[None]]) -> Source:
        consumer = make_consumer(kafka, f"{kafka.prefix}-{name}", drain_s=drain_s, urgent=urgent)
        return Source(name, consumer, starts, StoredPositions(shared.database), before_revoke, first=first)

    return make
