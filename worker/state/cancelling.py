"""Messages that an operator takes back: what waits, and what is under way, up to the fence."""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.delivery.asks import Ask
from worker.delivery.cancelling import event_at, scopes_of
from worker.state.database import Database
from worker.state.inserting import inserting
from worker.state.now import db_now
from worker.state.tables import cancellations, deferred

PIECE = 2_000


class Waits(NamedTuple):
    """A message that waits in the database, and its event's own time, seconds since 1970."""

    message_id: str
    reason: str
    event_at: float


class Cancelling:
    """Every method may raise StateUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def cancel(self, scope: str, waiting: Sequence[str], latest: float) -> None:
        """
        Take *scope* back: the fence refuses it from now on, and messages of it that wait come to the fence at once.

        Args:
            scope: What is taken back.
            waiting: Ids of its messages that wait.
            latest: Time of the latest event that is meant; an emitter's clock may run ahead of ours.
        """
        insert = inserting(self._database.is_postgresql)
        async with self._database.transaction() as connection:
            now = await connection.scalar(sa.select(db_now())) or 0.0
            statement = insert(cancellations).values(scope=scope, at=max(now, latest))
            again = statement.on_conflict_do_update(index_elements=["scope"], set_={"at": statement.excluded.at})
            await connection.execute(again)
        for start in range(0, len(waiting), PIECE):
            piece = deferred.c.message_id.in_(waiting[start : start + PIECE])
            async with self._database.transaction() as connection:
                await connection.execute(deferred.update().where(piece, deferred.c.due > db_now()).values(due=db_now()))

    async def undo(self, scope: str) -> bool:
        """Let messages of *scope* go again, those that have not ended yet; return whether it had been taken back."""
        async with self._database.transaction() as connection:
            gone = await connection.execute(cancellations.delete().where(cancellations.c.scope == scope))
        return bool(gone.rowcount)

    async def waiting(self, scope: str) -> AsyncIterator[Waits]:
        """Yield messages of *scope* that wait."""
        last = "00000000-0000-0000-0000-000000000000"
        columns = (deferred.c.message_id, deferred.c.reason, deferred.c.message)
        while True:
            piece = sa.select(*columns).where(deferred.c.message_id > last).order_by(deferred.c.message_id).limit(PIECE)
            async with self._database.reading() as connection:
                rows = (await connection.execute(piece)).all()
            for row in rows:
                message = orjson.loads(row.message)
                if scope in scopes_of(message):
                    yield Waits(row.message_id, row.reason, event_at(message))
            if len(rows) < PIECE:
                return
            last = rows[-1].message_id


async def read_cancelled(connection: AsyncConnection, asks: Sequence[Ask]) -> dict[str, float]:
    """Return when the scopes of *asks* were taken back, for those that were."""
    scopes = sorted({scope for ask in asks for scope in ask.limits.cancelled_by})
    rows = await connection.execute(sa.select(cancellations).where(cancellations.c.scope.in_(scopes)))
    return {row.scope: row.at for row in rows}
