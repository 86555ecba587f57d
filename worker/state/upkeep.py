"""What the state store forgets by itself, as it was promised: old keys of the day, and notes about records that are gone."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import sqlalchemy as sa

from worker.config_files import LONGEST
from worker.results import day_subject
from worker.state.database import Database
from worker.state.now import db_now
from worker.state.tables import (
    cancellations,
    code_numbers,
    guards,
    handled_letters,
    person_keys,
    processes,
    seen_events,
    skips,
    tallies,
)

DAY_S = 86_400.0
# Dead letters are kept for 30 days; a day more, and nothing can need the key that sealed those which name nobody.
LETTERS_DAYS, MOST_DAYS = 31, 400  # the second: that nobody may have looked after it
# The longest time to live of a template, and what a lane is kept beyond it. Kafka drops dead letters a segment at a time,
# which may be a week after their time: what was handled must not be shown again until then.
RECORDS_S = 67 * DAY_S
# A message may wait for so long, and must then know what makes it pointless.
SEEN_S = RECORDS_S + LONGEST.total_seconds()
PIECE = 5_000


class Upkeep:
    """Deletes what is over, some thousand rows at a time. Done by any process, as often as one likes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run_once(self, now: datetime) -> Mapping[str, int]:
        """
        Delete what is over; return how many rows of each table.

        Raises:
            StateUnavailable: The database does not answer; what was deleted by then stays so.
        """
        over = {
            # Destroys what they sealed: letters of records that nobody could be named for.
            person_keys: person_keys.c.subject.in_(_days_before(now)),
            handled_letters: handled_letters.c.at < db_now() - RECORDS_S,
            cancellations: cancellations.c.at < db_now() - SEEN_S,
            skips: skips.c.at < db_now() - RECORDS_S,
            seen_events: seen_events.c.recorded_at < db_now() - SEEN_S,
            processes: processes.c.seen_at < db_now() - DAY_S,
            code_numbers: code_numbers.c.at < db_now() - 2 * DAY_S,
            guards: sa.and_(guards.c.blocked_until < db_now() - DAY_S, guards.c.allowed_until < db_now() - DAY_S),
            # Sums of money name their day or month, and are few: they stay.
            tallies: sa.and_(tallies.c.bucket > 0, tallies.c.bucket < db_now() - 2 * DAY_S),
        }
        return {table.name: await self._delete(table, which) for table, which in over.items()}

    async def _delete(self, table: sa.Table, which: sa.ColumnElement[bool]) -> int:
        key, deleted = list(table.primary_key), 0
        piece = sa.select(*key).where(which).limit(PIECE)
        statement = table.delete().where(sa.tuple_(*key).in_(piece) if len(key) > 1 else key[0].in_(piece))
        while True:
            async with self._database.transaction() as connection:
                count = (await connection.execute(statement)).rowcount
            deleted += count
            if count < PIECE:
                return deleted


def _days_before(now: datetime) -> list[str]:
    """Return whose keys are over, each by its name, which the table's index knows."""
    return [day_subject(now - timedelta(days=days)) for days in range(LETTERS_DAYS + 1, MOST_DAYS)]
