"""
Messages that wait: a row each, and the mover's side of it.

A row is written in the fence's transaction, with the ledger's new step. Who moves takes rows for a minute, publishes them,
and then deletes them by id *and* step: a row that was deferred again meanwhile stays.
"""

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.messages import Lane
from worker.delivery.deferrals import Deferral, Due
from worker.state.database import Database
from worker.state.inserting import inserting
from worker.state.now import db_now
from worker.state.tables import deferred, floods, seen_events

TAKEN_S = 60.0
# What is due by the database's clock is due by every process's: each is set by it, and may be this much behind.
CLOCK_MARGIN_S = 0.1
MOST_LET_GO = 2_000


class Waiting:
    """The table of messages that wait."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def message(self, message_id: str) -> bytes | None:
        """Return a message that waits, as its lane's record has it; None if it does not."""
        its = sa.select(deferred.c.message).where(deferred.c.message_id == message_id)
        async with self._database.reading() as connection:
            found: bytes | None = await connection.scalar(its)
            return found

    async def write(self, connection: AsyncConnection, deferrals: Sequence[Deferral]) -> None:
        """Write *deferrals*, in the transaction that writes their ledger rows; a later step replaces an earlier one."""
        if not deferrals:
            return
        insert = inserting(self._database.is_postgresql)
        rows = [
            {
                "message_id": one.message_id,
                "step": one.step,
                "lane": one.lane.value,
                "due": one.due,
                "reason": one.reason.value,
                "template": one.template,
                "recipient": one.recipient,
                "message": one.message,
                "taken_until": 0.0,
            }
            for one in deferrals
        ]
        statement = insert(deferred)
        changed = {name: statement.excluded[name] for name in rows[0] if name != "message_id"}
        await connection.execute(statement.on_conflict_do_update(index_elements=["message_id"], set_=changed), rows)

    async def take(self, lane: Lane, most: int) -> list[Due]:
        """
        Return up to *most* messages of *lane* that are due, the oldest first; nobody else gets them for a minute.

        Raises:
            StateUnavailable: The database does not answer.
        """
        due = (
            sa.select(deferred.c.message_id)
            .where(
                deferred.c.lane == lane.value,
                deferred.c.due <= db_now() - CLOCK_MARGIN_S,
                # Taken for longer than anybody takes: by a clock that is no more.
                sa.or_(
                    deferred.c.taken_until <= db_now(), deferred.c.taken_until > db_now() + TAKEN_S + CLOCK_MARGIN_S
                ),
            )
            .order_by(deferred.c.due)
            .limit(most)
            .with_for_update(skip_locked=True)
        )
        taking = (
            deferred.update()
            .where(deferred.c.message_id.in_(due))
            .values(taken_until=db_now() + TAKEN_S)
            .returning(deferred)
        )
        async with self._database.transaction() as connection:
            rows = (await connection.execute(taking)).all()
        return [
            Due(row.message_id, row.step, Lane(row.lane), row.reason, row.recipient, row.message)
            for row in sorted(rows, key=lambda row: row.due)
        ]

    async def free(self, lane: Lane) -> None:
        """Let messages go that wait for a flood which holds no more: a process may have put one there after the release."""
        held = sa.select(floods.c.scope).where(floods.c.scope == sa.literal("template:") + deferred.c.template)
        freed = deferred.update().where(
            deferred.c.lane == lane.value,
            deferred.c.reason == "flood",
            deferred.c.due > db_now(),
            ~sa.exists(held.correlate(deferred)),
        )
        async with self._database.transaction() as connection:
            await connection.execute(freed.values(due=db_now()))

    async def let_go(self, reason: str) -> int:
        """Let up to `MOST_LET_GO` messages that wait for *reason* be looked at now; return how many."""
        some = sa.select(deferred.c.message_id).where(deferred.c.reason == reason, deferred.c.due > db_now())
        its = deferred.update().where(deferred.c.message_id.in_(some.limit(MOST_LET_GO))).values(due=db_now())
        async with self._database.transaction() as connection:
            return (await connection.execute(its)).rowcount

    async def moved(self, published: Sequence[Due]) -> None:
        """Delete what was published, unless it was deferred again."""
        statement = deferred.delete().where(
            deferred.c.message_id == sa.bindparam("its_id"), deferred.c.step == sa.bindparam("its_step")
        )
        async with self._database.transaction() as connection:
            rows = sorted(({"its_id": one.message_id, "its_step": one.step} for one in published), key=_by_id)
            await connection.execute(statement, rows)

    async def count(self) -> dict[tuple[str, str], int]:
        """Return how many messages wait, by lane and reason."""
        counting = sa.select(deferred.c.lane, deferred.c.reason, sa.func.count()).group_by(
            deferred.c.lane, deferred.c.reason
        )
        async with self._database.reading() as connection:
            return {(lane, reason): count for lane, reason, count in await connection.execute(counting)}


def _by_id(row: dict[str, Any]) -> str:
    return str(row["its_id"])


class SeenEvents:
    """Remembers events that make waiting messages pointless."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def remember(self, seen: Sequence[tuple[str, float]]) -> None:
        """
        Note that events happened: keyed hash and seconds since 1970; an earlier time changes nothing.

        Raises:
            StateUnavailable: The database does not answer.
        """
        latest: dict[str, float] = {}
        for name, at in seen:
            latest[name] = max(at, latest.get(name, at))
        insert = inserting(self._database.is_postgresql)
        statement = insert(seen_events).values(recorded_at=db_now())
        later = statement.on_conflict_do_update(
            index_elements=["name"],
            set_={"at": statement.excluded.at, "recorded_at": db_now()},
            where=seen_events.c.at < statement.excluded.at,
        )
        async with self._database.transaction() as connection:
            await connection.execute(later, [{"name": name, "at": at} for name, at in sorted(latest.items())])

    async def read(self, connection: AsyncConnection, names: Collection[str]) -> dict[str, float]:
        """Return when each of *names* happened last, for those that did."""
        if not names:
            return {}
        rows = await connection.execute(
            sa.select(seen_events.c.name, seen_events.c.at).where(seen_events.c.name.in_(list(names)))
        )
        return {row.name: row.at for row in rows}
