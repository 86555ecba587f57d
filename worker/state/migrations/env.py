"""Alembic's entry: runs the migrations on either engine."""

import asyncio
import time

from alembic import context
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from worker.state.tables import OLDEST_SERVED, SERVES, facts, metadata

TURN_S = 0.5


def _run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
    if connection.dialect.name == "postgresql":  # two processes that start together take turns, until they hang up
        # Asked for again and again: whoever waited within a statement would hold up an index that is built concurrently.
        while not connection.exec_driver_sql("SELECT pg_try_advisory_lock(7360001)").scalar():
            connection.commit()
            time.sleep(TURN_S)
        connection.commit()
    found = MigrationContext.configure(connection).get_current_revision() or ""
    connection.commit()
    if found > (context.script.get_current_head() or ""):
        return  # a newer worker has been here; whether its schema serves this one is asked at the start
    with context.begin_transaction():
        context.run_migrations()
        connection.execute(facts.delete().where(facts.c.name == SERVES))
        connection.execute(facts.insert().values(name=SERVES, value=OLDEST_SERVED))


async def _connect() -> None:
    engine = create_async_engine(
        context.config.attributes["url"], poolclass=NullPool, connect_args=context.config.attributes["connect_args"]
    )
    async with engine.connect() as connection:
        await connection.run_sync(_run)
        await connection.commit()
    await engine.dispose()


asyncio.run(_connect())
