"""The database's clock, told by each process: what is due, expired or allowed now is one answer for all of them."""

import time
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from worker.clock import Clock
from worker.state.database import Database
from worker.state.now import db_now

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class StateClock:
    """
    A clock whose time of day is the database's, carried on by the process's monotonic clock.

    A machine whose own clock jumps neither sends early nor calls expired what is not. It is never ahead of the
    database, and behind it by a statement's way back at the most.
    """

    def __init__(self, clock: Clock, database: Database) -> None:
        self._clock = clock
        self._database = database
        self._offset_s = time.time() - clock.monotonic()

    async def set(self) -> None:
        """
        Ask the database what time it is.

        Raises:
            StateUnavailable: The database does not answer; the clock goes on from when it last did.
        """
        async with self._database.reading() as connection:
            now: float = (await connection.execute(sa.select(db_now()))).scalar_one()
        self._offset_s = now - self._clock.monotonic()

    def now(self) -> datetime:
        """Return the time of day, in UTC."""
        return EPOCH + timedelta(seconds=self._offset_s + self._clock.monotonic())

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait *seconds*."""
        await self._clock.sleep(seconds)
