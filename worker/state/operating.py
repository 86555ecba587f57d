"""What operators asked for: records given up, dead letters handled, floods held and released."""

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from worker.records import Place
from worker.state.database import Database
from worker.state.tables import accounts, db_now, deferred, floods, handled_letters, skips

HELD_FOR_EVER_S = 1e9


class Operating:
    """The tables of what operators do. Every method may raise StateUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert: Any = postgresql.insert if database.is_postgresql else sqlite.insert

    async def skip(self, place: Place, reason: str, asked_by: str) -> None:
        """Give a record up; whoever reads it makes it a dead letter."""
        row = {**place._asdict(), "reason": reason, "asked_by": asked_by}
        async with self._database.transaction() as connection:
            await connection.execute(self._insert(skips).values(**row, at=db_now()).on_conflict_do_nothing())

    async def skips(self) -> dict[Place, str]:
        """Return every record that was given up, with the reason."""
        async with self._database.reading() as connection:
            rows = await connection.execute(sa.select(skips))
            return {Place(row.topic, row.partition, row.offset): row.reason for row in rows}

    async def skipped(self, place: Place) -> None:
        """Note that its dead letter is written."""
        async with self._database.transaction() as connection:
            await connection.execute(skips.update().where(*_at(skips, place)).values(done_at=db_now()))

    async def was_skipped(self, place: Place) -> bool:
        """Return whether its dead letter is written."""
        async with self._database.reading() as connection:
            done = await connection.scalar(sa.select(skips.c.done_at).where(*_at(skips, place)))
            return done is not None

    async def handled(self, topics: Collection[str]) -> set[Place]:
        """Return the dead letters of *topics* that somebody handled."""
        async with self._database.reading() as connection:
            rows = await connection.execute(
                sa.select(handled_letters.c.topic, handled_letters.c.partition, handled_letters.c.offset).where(
                    handled_letters.c.topic.in_(list(topics))
                )
            )
            return {Place(*row) for row in rows}

    async def mark_handled(self, places: Collection[Place], run: str) -> None:
        """Show dead letters no more."""
        if places:
            rows = [{**place._asdict(), "run": run} for place in sorted(places)]
            async with self._database.transaction() as connection:
                await connection.execute(
                    self._insert(handled_letters).values(at=db_now()).on_conflict_do_nothing(), rows
                )

    async def hold(self, scope: str, reason: str) -> None:
        """Hold a template or an account until somebody releases it."""
        async with self._database.transaction() as connection:
            statement = self._insert(floods).values(scope=scope, reason=reason, at=db_now()).on_conflict_do_nothing()
            await connection.execute(statement)
            kind, _, name = scope.partition(":")
            if kind == "account":
                held = accounts.update().where(accounts.c.name == name)
                await connection.execute(held.values(held_until=db_now() + HELD_FOR_EVER_S, hold_reason=reason))

    async def floods(self) -> Mapping[str, str]:
        """Return what holds, and why."""
        async with self._database.reading() as connection:
            return {row.scope: row.reason for row in await connection.execute(sa.select(floods))}

    async def release(self, scope: str) -> bool:
        """Let what held go on; return whether it did hold."""
        kind, _, name = scope.partition(":")
        async with self._database.transaction() as connection:
            gone = await connection.execute(floods.delete().where(floods.c.scope == scope))
            if not gone.rowcount:
                return False
            if kind == "account":
                await connection.execute(accounts.update().where(accounts.c.name == name).values(held_until=0))
            else:
                waiting = deferred.update().where(deferred.c.template == name, deferred.c.reason == "flood")
                await connection.execute(waiting.values(due=db_now()))
            return True


def _at(table: sa.Table, place: Place) -> list[Any]:
    return [table.c.topic == place.topic, table.c.partition == place.partition, table.c.offset == place.offset]
