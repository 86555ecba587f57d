"""What operators asked for: records given up, dead letters handled, floods held and released."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from worker.records import Place, Skip
from worker.state.database import Database
from worker.state.inserting import inserting
from worker.state.now import db_now
from worker.state.tables import accounts, deferred, floods, handled_letters, skips

HELD_FOR_EVER_S = 1e9


class Operating:
    """The tables of what operators do. Every method may raise StateUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert = inserting(database.is_postgresql)

    async def skip(self, place: Place, skip: Skip, asked_by: str) -> None:
        """Give a record up; whoever reads it makes it a dead letter. One that was given up already stays as it is."""
        row = {**place._asdict(), "reason": skip.reason, "record_ms": skip.record_ms, "asked_by": asked_by}
        statement = self._insert(skips).values(**row, at=db_now())
        # The topic was made again, and another record is at the place.
        changed = {name: statement.excluded[name] for name in ("reason", "record_ms", "asked_by", "at")}
        another = statement.on_conflict_do_update(
            index_elements=["topic", "partition", "offset"],
            set_={**changed, "done_at": None},
            where=skips.c.record_ms != statement.excluded.record_ms,
        )
        async with self._database.transaction() as connection:
            await connection.execute(another)

    async def skips(self) -> dict[Place, Skip]:
        """Return every record that was given up."""
        async with self._database.reading() as connection:
            rows = await connection.execute(sa.select(skips))
            return {Place(row.topic, row.partition, row.offset): Skip(row.reason, row.record_ms) for row in rows}

    async def skipped(self, place: Place) -> None:
        """Note that its dead letter is written."""
        async with self._database.transaction() as connection:
            await connection.execute(skips.update().where(*_at(skips, place)).values(done_at=db_now()))

    async def was_skipped(self, place: Place) -> bool:
        """Return whether its dead letter is written."""
        async with self._database.reading() as connection:
            done = await connection.scalar(sa.select(skips.c.done_at).where(*_at(skips, place)))
            return done is not None

    async def handled(self, topic: str, partition: int) -> dict[int, int]:
        """Return the dead letters of a partition that somebody handled: offset, and the letter's time in ms; 0 for any."""
        its = handled_letters.c
        async with self._database.reading() as connection:
            rows = await connection.execute(
                sa.select(its.offset, its.letter_ms).where(its.topic == topic, its.partition == partition)
            )
            return {row.offset: row.letter_ms for row in rows}

    async def count_handled(self, starts: Mapping[tuple[str, int], int]) -> int:
        """Return how many dead letters somebody has handled, of those that their partitions still have: *starts* on."""
        count = 0
        async with self._database.reading() as connection:
            for (topic, partition), start in starts.items():
                its = handled_letters.c
                there = sa.and_(its.topic == topic, its.partition == partition, its.offset >= start)
                count += (
                    await connection.scalar(sa.select(sa.func.count()).select_from(handled_letters).where(there)) or 0
                )
        return count

    async def handled_among(self, letters: Mapping[Place, int]) -> set[Place]:
        """Return which of *letters*, whose times are given in ms, somebody has handled by now."""
        handled = set[Place]()
        for topic, partition in sorted({(place.topic, place.partition) for place in letters}):
            offsets = [place.offset for place in letters if (place.topic, place.partition) == (topic, partition)]
            its = handled_letters.c
            found = sa.select(its.offset, its.letter_ms).where(
                its.topic == topic, its.partition == partition, its.offset.in_(offsets)
            )
            async with self._database.reading() as connection:
                for offset, letter_ms in await connection.execute(found):
                    place = Place(topic, partition, offset)
                    if letter_ms in (0, letters[place]):
                        handled.add(place)
        return handled

    async def mark_handled(self, letters: Mapping[Place, int], run: str) -> None:
        """Show dead letters, whose times are given in ms, no more."""
        if letters:
            rows = [{**place._asdict(), "letter_ms": letters[place], "run": run} for place in sorted(letters)]
            statement = self._insert(handled_letters).values(at=db_now())
            # The topic was made anew, and another letter is at the place.
            changed = {name: statement.excluded[name] for name in ("letter_ms", "run", "at")}
            async with self._database.transaction() as connection:
                await connection.execute(
                    statement.on_conflict_do_update(index_elements=["topic", "partition", "offset"], set_=changed), rows
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
