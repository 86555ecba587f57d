"""What the state store forgets by itself, as it was promised: old keys of the day, and notes about records that are gone."""

from datetime import datetime, timedelta

from worker.results import day_subject
from worker.state.database import Database
from worker.state.tables import db_now, handled_letters, person_keys, seen_events, skips

DAY_S = 86_400.0
# Dead letters are kept for 30 days; a day more, and nothing can need the key that sealed those which name nobody.
LETTERS_DAYS = 31
LETTERS_S = LETTERS_DAYS * DAY_S
# The longest time to live of a template, and what a lane is kept beyond it: no message is older.
MESSAGES_S = 67 * DAY_S
MOST_DAYS = 400  # that nobody may have looked after it


class Upkeep:
    """Deletes what is over. Done by any process, as often as one likes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run_once(self, now: datetime) -> dict[str, int]:
        """
        Delete what is over; return how many rows of each table.

        Raises:
            StateUnavailable: The database does not answer.
        """
        letters, messages = db_now() - LETTERS_S, db_now() - MESSAGES_S
        over = {
            # Destroys what they sealed: letters of records that nobody could be named for.
            "person_keys": person_keys.delete().where(person_keys.c.subject.in_(_days_before(now))),
            "handled_letters": handled_letters.delete().where(handled_letters.c.at < letters),
            "skips": skips.delete().where(skips.c.at < messages),
            "seen_events": seen_events.delete().where(
                seen_events.c.at < messages, seen_events.c.recorded_at < messages
            ),
        }
        deleted: dict[str, int] = {}
        for table, statement in over.items():
            async with self._database.transaction() as connection:
                deleted[table] = (await connection.execute(statement)).rowcount
        return deleted


def _days_before(now: datetime) -> list[str]:
    """Return whose keys are over, each by its name, which the table's index knows."""
    return [day_subject(now - timedelta(days=days)) for days in range(LETTERS_DAYS + 1, MOST_DAYS)]
