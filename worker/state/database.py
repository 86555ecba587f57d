"""
One schema on two engines: SQLite for exactly one process, PostgreSQL for many.

Every database error that leaves this folder is `StateUnavailable`, so that who asked holds and asks again.
"""

import asyncio
import fcntl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DataError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from worker.errors import ConfigurationError, Problem, StateRefused, StateUnavailable, is_cut_off
from worker.sealing import Pepper
from worker.servers import DatabaseSettings
from worker.state.connections import bounds, discard_if_useless, notice_a_dead_peer, require_writable, trusting
from worker.state.tables import facts
from worker.telemetry.resources import Resource, Use

log = structlog.get_logger(__name__)
# SQLSTATE classes of values that never fit: data exception, integrity constraint. A read-only server, a password that
# was changed, a missing table: somebody will mend those, and until then everything holds. 23505: two writers met.
VALUE_STATES, UNIQUE_VIOLATION = ("22", "23"), "23505"
SQLITE_WAIT_S = 30.0
LAST_WRITE = "last_write"
URGENT_POOL = 3  # look-up, fence and ledger, of which each asks one at a time


class Database:
    """
    Transactions and reads; opened by `open_database`.

    Attributes:
        urgent: The same database by connections that nobody else uses, for what serves the urgent lane.
    """

    def __init__(self, engine: AsyncEngine, urgent: AsyncEngine | None = None) -> None:
        self.urgent = self if urgent is None else Database(urgent)
        self._engine, self._wanted = engine, 0
        self._reading = engine.execution_options(isolation_level="AUTOCOMMIT")
        self.is_postgresql = engine.dialect.name == "postgresql"
        # SQLite has one writer; whoever waits for it there sleeps in steps, here it is woken.
        self._writing = asyncio.Lock()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """
        Run a transaction, committed when the block ends.

        On SQLite it takes the one write lock at once; on PostgreSQL it is READ COMMITTED.

        Raises:
            StateUnavailable: The database does not answer, or two transactions collided.
            StateRefused: It will never take one of these values.
        """
        with self._counted():
            async with self._alone(), self._engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        """Be the one writer that SQLite has, within a deadline."""
        if self.is_postgresql:
            yield
            return
        async with asyncio.timeout(SQLITE_WAIT_S):
            await self._writing.acquire()
        try:
            yield
        finally:
            self._writing.release()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """
        Read without a transaction: each statement sees what is committed by then.

        Raises:
            StateUnavailable: The database does not answer.
        """
        with self._counted():
            async with self._reading.connect() as connection:
                yield connection

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count who has a connection or wants one."""
        self._wanted += 1
        try:
            with translated_errors():
                yield
        finally:
            self._wanted -= 1

    def use(self, name: str) -> Use:
        """Return how many connections are in use, and how many tasks wait for one."""
        pool = self._engine.pool
        if not isinstance(pool, AsyncAdaptedQueuePool):
            raise TypeError(type(pool).__name__)
        used = pool.checkedout()
        return Use(Resource.CONNECTIONS, name, used, pool.size(), max(0, self._wanted - used))

    async def answers(self) -> bool:
        """Return whether the database answers at all."""
        try:
            async with self.reading() as connection:
                await connection.execute(sa.select(1))
        except (StateUnavailable, StateRefused):
            return False
        return True

    async def require_writable(self) -> None:
        """
        Write something: a server that was demoted still answers, and takes nothing.

        Raises:
            StateUnavailable: The database does not answer, or takes no writes.
        """
        if not self.is_postgresql:
            return
        beat = postgresql.insert(facts).values(name=LAST_WRITE, value=sa.cast(sa.func.now(), sa.Text))
        async with self.transaction() as connection:
            newest = {"value": beat.excluded.value}
            await connection.execute(beat.on_conflict_do_update(index_elements=["name"], set_=newest))

    async def lock_persons(self, connection: AsyncConnection, persons: set[str]) -> None:
        """
        Keep everybody else away from what *persons* agreed to until the transaction ends.

        Taken in sorted order, so that two batches never wait for each other. SQLite has one writer anyway.
        """
        if self.is_postgresql and persons:
            await connection.execute(_LOCK_PERSONS, {"persons": sorted(persons)})

    async def claim_identity(self, deployment: str, pepper: Pepper) -> None:
        """
        Write down, or compare, whom this database belongs to.

        Raises:
            ConfigurationError: It was made under another pepper or deployment name.
        """
        async with self.transaction() as connection:
            known = {row.name: row.value for row in await connection.execute(sa.select(facts))}
            mine = {"deployment": deployment, "pepper": pepper.fingerprint}
            for name, value in mine.items():
                if name not in known:
                    await connection.execute(facts.insert().values(name=name, value=value))
                elif known[name] != value:
                    message = f"made under another one ({known[name]}, this is {value}); every STOP in it would be lost"
                    raise ConfigurationError([Problem("database", None, name, message)])


# hashtextextended gives 64 bits: two persons who share a lock wait for each other now and then, no more.
_LOCK_PERSONS = sa.text(
    "SELECT pg_advisory_xact_lock(hashtextextended(person, 0)) FROM unnest(CAST(:persons AS text[])) AS person"
)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn the database's errors into ours."""
    try:
        yield
    except DBAPIError as error:
        if _will_pass(error):
            raise StateUnavailable(f"the database does not answer: {_name(error)}") from error
        raise StateRefused(_name(error)) from None
    except (PoolTimeout, OSError, TimeoutError) as error:
        raise StateUnavailable(f"the database does not answer: {type(error).__name__}") from error
    except RuntimeError as error:
        if not is_cut_off(error):
            raise
        raise StateUnavailable("the database does not answer: its connection was closed") from error


def _name(error: DBAPIError) -> str:
    """Return the error's class and SQLSTATE, and no value."""
    return f"{type(error).__name__} {getattr(error.orig, 'sqlstate', None) or ''}".strip()


def _will_pass(error: DBAPIError) -> bool:
    """Return whether to hold and ask again: always, but for a value that the database will never take."""
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return state == UNIQUE_VIOLATION or not str(state).startswith(VALUE_STATES)
    return not isinstance(error, DataError)


@asynccontextmanager
async def open_database(settings: DatabaseSettings, *, tool: bool = False) -> AsyncIterator[Database]:
    """
    Open the state store; connections close when the block ends.

    Args:
        settings: Where it is.
        tool: For an operator's command beside a worker: it keeps no rate, so SQLite may have both.

    Raises:
        ConfigurationError: Another process has the SQLite file, or the schema is not of this version.
    """
    url = sa.make_url(settings.url.get_secret_value())
    with nullcontext() if tool else _one_process(url):
        engine = _engine(url, settings, settings.pool, tool=tool)
        # SQLite has one writer, and whoever is to write next waits for the one before.
        urgent = None if tool or url.get_backend_name() == "sqlite" else _engine(url, settings, URGENT_POOL)
        try:
            yield Database(engine, urgent)
        finally:
            await engine.dispose()
            if urgent is not None:
                await urgent.dispose()


def _engine(url: sa.URL, settings: DatabaseSettings, pool: int, *, tool: bool = False) -> AsyncEngine:
    if url.get_backend_name() == "sqlite":
        engine = create_async_engine(
            url,
            hide_parameters=True,
            poolclass=AsyncAdaptedQueuePool,
            pool_size=3,
            max_overflow=0,
            connect_args={"timeout": SQLITE_WAIT_S},
        )
        sa.event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        sa.event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine
    engine = create_async_engine(
        url,
        hide_parameters=True,  # an error's text reaches logs and terminals
        pool_size=pool,
        max_overflow=0,
        pool_timeout=settings.statement_timeout_s,
        connect_args={
            "command_timeout": settings.statement_timeout_s,
            "timeout": settings.statement_timeout_s,
            **settings.connect_args(),
            "server_settings": {
                "application_name": "sms-worker",
                "synchronous_commit": "on",
                "jit": "off",
                **bounds(settings),
            },
        },
    )
    sa.event.listen(engine.sync_engine, "connect", notice_a_dead_peer)
    sa.event.listen(engine.sync_engine, "handle_error", discard_if_useless)
    if not tool:
        sa.event.listen(engine.sync_engine, "connect", require_writable)
    if settings.ca_file is not None:
        sa.event.listen(engine.sync_engine, "do_connect", trusting(settings))
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def _one_process(url: sa.URL) -> Iterator[None]:
    """Hold a lock beside a SQLite file: two workers on it would each keep the account's rate alone."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        yield
        return
    path = Path(url.database)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = "another worker has this SQLite file; for several processes use postgresql+asyncpg://"
            raise ConfigurationError([Problem(str(path), None, "database.url", message)]) from error
        yield
