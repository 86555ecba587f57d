"""Servers that the tests share: real ones, started once, skipped where they cannot run and never in CI."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest

from tests import browser
from tests import kafka as kafka_server
from tests import postgres as postgres_server
from worker.demo.broker import open_broker
from worker.state.database import Database, open_database
from worker.state.schema import migrate
from worker.servers import DatabaseSettings

IN_CI = os.environ.get("CI") == "true"


def require(problem: str | None) -> None:
    """Skip, or in CI fail, if something is missing."""
    if problem is None:
        return
    if IN_CI:
        pytest.fail(f"{problem}; CI must install it")
    pytest.skip(problem)


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgres_server.Postgres]:
    require(postgres_server.missing())
    with postgres_server.running() as server:
        yield server


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kafka_server.Kafka]:
    require(kafka_server.missing())
    with kafka_server.running(tmp_path_factory.mktemp("kafka")) as server:
        yield server


@pytest.fixture
async def tansu() -> AsyncIterator[str]:
    async with open_broker() as address:
        yield address


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def database_url(request: pytest.FixtureRequest, tmp_path) -> str:
    if request.param == "sqlite":
        url = f"sqlite+aiosqlite:///{tmp_path}/state.db"
    else:
        url = request.getfixturevalue("postgres").new_database()
    await asyncio.to_thread(migrate, url)
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(DatabaseSettings(url=database_url)) as opened:
        yield opened


def pytest_terminal_summary(terminalreporter) -> None:
    """Say which real servers the suite ran on; -q hides the header."""
    for name, problem in (
        ("Apache Kafka 4.3.1", kafka_server.missing()),
        ("PostgreSQL", postgres_server.missing()),
        ("Chromium", browser.missing()),
    ):
        terminalreporter.write_line(f"{name}: {'not run, ' + problem if problem else 'real, run'}")


# For what has been tried on both databases already, and needs a broker once.
REAL_SERVERS = pytest.mark.parametrize(
    "servers", [pytest.param("kafka+postgres", marks=[pytest.mark.kafka, pytest.mark.postgres])], indirect=True
)


@pytest.fixture(
    params=["tansu+sqlite", pytest.param("kafka+postgres", marks=[pytest.mark.kafka, pytest.mark.postgres])]
)
async def servers(request: pytest.FixtureRequest, tmp_path) -> AsyncIterator[dict[str, object]]:
    """A broker and a database: the embedded ones, and the real ones."""
    if request.param == "tansu+sqlite":
        url = f"sqlite+aiosqlite:///{tmp_path}/state.db"
        await asyncio.to_thread(migrate, url)
        async with open_broker() as address:
            yield {"broker": address, "database": url, "embedded": True}
        return
    kafka = request.getfixturevalue("kafka")
    url = request.getfixturevalue("postgres").new_database()
    await asyncio.to_thread(migrate, url)
    await asyncio.to_thread(kafka.forget)
    yield {"broker": kafka.address, "database": url, "embedded": False}
