"""How far each partition has been read, by the deployment and not by a group: what a broker forgets is remembered here."""

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from worker.records import Partition, Position
from worker.state.database import Database
from worker.state.inserting import inserting
from worker.state.now import db_now
from worker.state.tables import positions


class StoredPositions:
    """Remembers positions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, topics: Collection[str]) -> dict[Partition, Position]:
        """
        Return what is remembered of *topics*.

        Raises:
            StateUnavailable: The database does not answer.
        """
        statement = sa.select(positions).where(positions.c.topic.in_(sorted(topics)))
        async with self._database.reading() as connection:
            rows = await connection.execute(statement)
            return {
                (row.topic, row.partition): Position(row.topic_id, row.next_offset, row.committed_at is not None)
                for row in rows
            }

    async def first_seen(self, found: Mapping[Partition, Position]) -> None:
        """
        Remember partitions that were there at the first start; what somebody remembered before stands.

        Raises:
            StateUnavailable: The database does not answer.
        """
        await self._write(found, inserting(self._database.is_postgresql)(positions).on_conflict_do_nothing())

    async def reached(self, found: Mapping[Partition, Position]) -> None:
        """
        Remember up to where partitions have been read and finished.

        Raises:
            StateUnavailable: The database does not answer.
        """
        insert = inserting(self._database.is_postgresql)(positions).values(committed_at=db_now())
        newest = {name: insert.excluded[name] for name in ("topic_id", "next_offset", "committed_at")}
        await self._write(found, insert.on_conflict_do_update(index_elements=["topic", "partition"], set_=newest))

    async def _write(self, found: Mapping[Partition, Position], statement: Any) -> None:
        if not found:
            return
        # In order, so that two processes never wait for each other.
        rows = [
            {"topic": topic, "partition": partition, "topic_id": its.topic_id, "next_offset": its.next_offset}
            for (topic, partition), its in sorted(found.items())
        ]
        async with self._database.transaction() as connection:
            await connection.execute(statement, rows)
