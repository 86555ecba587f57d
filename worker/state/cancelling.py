"""Messages that an operator takes back: what waits, and what is under way, up to the fence."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.delivery.asks import Ask
from worker.delivery.cancelling import scopes_of
from worker.state.database import Database
from worker.state.tables import cancellations, db_now, deferred

PIECE = 2_000


class Waits(NamedTuple):
    """A message that waits in the database."""

    message_id: str
    reason: str
    template: str


class Cancelling:
    """Every method may raise StateUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def cancel(self, scope: str, waiting: Sequence[str]) -> None:
        """Take *scope* back: the fence refuses it from now on, and messages of it that wait come to the fence at once."""
        insert: Any = postgresql.insert if self._database.is_postgresql else sqlite.insert
        statement = insert(cancellations).values(scope=scope, at=db_now())
        async with self._database.transaction() as connection:
            again = statement.on_conflict_do_update(index_elements=["scope"], set_={"at": db_now()})
            await connection.execute(again)
        for start in range(0, len(waiting), PIECE):
            piece = deferred.c.message_id.in_(waiting[start : start + PIECE])
            async with self._database.transaction() as connection:
                await connection.execute(deferred.update().where(piece, deferred.c.due > db_now()).values(due=db_now()))

    async def waiting(self, scope: str) -> AsyncIterator[Waits]:
        """Yield messages of *scope* that wait."""
        last = "00000000-0000-0000-0000-000000000000"
        columns = (deferred.c.message_id, deferred.c.reason, deferred.c.template, deferred.c.message)
        while True:
            piece = sa.select(*columns).where(deferred.c.message_id > last).order_by(deferred.c.message_id).limit(PIECE)
            async with self._database.reading() as connection:
                rows = (await connection.execute(piece)).all()
            for row in rows:
                if scope in scopes_of(orjson.loads(row.message)):
                    yield Waits(row.message_id, row.reason, row.template)
            if len(rows) < PIECE:
                return
            last = rows[-1].message_id


async def read_cancelled(connection: AsyncConnection, asks: Sequence[Ask]) -> dict[str, float]:
    """Return when the scopes of *asks* were taken back, for those that were."""
    scopes = sorted({scope for ask in asks for scope in ask.limits.cancelled_by})
    rows = await connection.execute(sa.select(cancellations).where(cancellations.c.scope.in_(scopes)))
    return {row.scope: row.at for row in rows}
