"""Alembic's entry: runs the migrations on either engine."""

import asyncio

from alembic import context
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from worker.state.tables import metadata


def _run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
    if connection.dialect.name == "postgresql":  # two processes that start together take turns, until they hang up
        connection.exec_driver_sql("SELECT pg_advisory_lock(7360001)")
        connection.commit()
    with context.begin_transaction():
        context.run_migrations()


async def _connect() -> None:
    engine = create_async_engine(
        context.config.attributes["url"], poolclass=NullPool, connect_args=context.config.attributes["connect_args"]
    )
    async with engine.connect() as connection:
        await connection.run_sync(_run)
        await connection.commit()
    await engine.dispose()


asyncio.run(_connect())
