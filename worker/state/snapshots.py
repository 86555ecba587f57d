"""What is dear to count is counted by one process, every so often, and read by all."""

from collections.abc import Awaitable, Callable

import sqlalchemy as sa

from worker.state.database import Database
from worker.state.inserting import inserting
from worker.state.now import db_now
from worker.state.tables import snapshots

STALE = 5


class Snapshot:
    """
    A value that all processes share.

    Args:
        name: Its row; another format of the value needs another name, as the version before reads this one.
        every_s: How old it may be before whoever comes first counts anew; the others read what was counted before.
        count: Counts; what it returns is text.
    """

    def __init__(self, database: Database, name: str, every_s: float, count: Callable[[], Awaitable[str]]) -> None:
        self._database = database
        self._name = name
        self._every_s = every_s
        self._count = count

    async def get(self) -> str | None:
        """
        Return the value; None while there is none yet, or nobody managed to count for `STALE` periods.

        Whoever dies while it counts costs the others one period: then the next one does.

        Raises:
            StateUnavailable: The database does not answer.
        """
        mine = snapshots.c.name == self._name
        if await self._claim():
            value = await self._count()
            async with self._database.transaction() as connection:
                await connection.execute(snapshots.update().where(mine).values(value=value, counted_at=db_now()))
            return value
        fresh = snapshots.c.counted_at > db_now() - STALE * self._every_s
        async with self._database.reading() as connection:
            told: str | None = await connection.scalar(sa.select(snapshots.c.value).where(mine, fresh))
            return told

    async def _claim(self) -> bool:
        """Return whether it is this process's turn; of those that come together one is told so."""
        insert = inserting(self._database.is_postgresql)(snapshots).values(name=self._name, claimed_at=db_now())
        # What was claimed in the future was so by a clock that is no more: another server has taken over since.
        old = sa.or_(snapshots.c.claimed_at <= db_now() - self._every_s, snapshots.c.claimed_at > db_now())
        claim = insert.on_conflict_do_update(
            index_elements=["name"], set_={"claimed_at": insert.excluded.claimed_at}, where=old
        )
        async with self._database.transaction() as connection:
            return (await connection.execute(claim.returning(snapshots.c.name))).first() is not None
