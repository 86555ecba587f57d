"""What an operator's command needs beside a running worker: configuration, state store, keys, a producer."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from worker.clock import SystemClock
from worker.kafka.clients import make_producer
from worker.kafka.sink import Sink, open_sink
from worker.routing.loading import Configuration, load_configuration, load_in_need
from worker.sealing import Pepper
from worker.secret_files import load_key_ring, load_pepper
from worker.state.clock import StateClock
from worker.state.database import Database, open_database
from worker.state.operating import Operating
from worker.state.people import People
from worker.state.schema import check_schema
from worker.topics import Topics


@dataclass(frozen=True)
class Tools:
    """Everything open; see `worker.parts.shared.Shared` for what each is."""

    configuration: Configuration
    clock: StateClock
    database: Database
    operating: Operating
    people: People
    pepper: Pepper
    topics: Topics
    sink: Sink


@asynccontextmanager
async def open_tools(config: Path, *, in_need: bool = False) -> AsyncIterator[Tools]:
    """
    Open what operators' commands need, until the block ends; *in_need* without rules, if those have mistakes.

    Raises:
        ConfigurationError: A secret is missing, or the database is another deployment's or version's.
        StateUnavailable: The database does not answer.
        BrokerUnavailable: Kafka does not answer.
    """
    configuration = load_in_need(config) if in_need else load_configuration(config)
    settings = configuration.settings
    ring = load_key_ring(settings.key_ring_file, create=False)
    pepper = load_pepper(settings.pepper_file, create=False)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(settings.database, tool=True))
        await check_schema(database, settings.database.url.get_secret_value())
        await database.claim_identity(settings.deployment, pepper)
        clock = StateClock(SystemClock(), database)
        await clock.set()
        sink = await stack.enter_async_context(open_sink(make_producer(settings.kafka)))
        yield Tools(
            configuration,
            clock,
            database,
            Operating(database),
            People(database, ring),
            pepper,
            Topics(settings.kafka.prefix),
            sink,
        )
