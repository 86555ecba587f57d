"""What must recur, and when it was done last: for a metric, an alert, and the calendar of docs/calendar.md."""

from enum import StrEnum
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.state.database import Database
from worker.state.inserting import inserting
from worker.state.now import db_now
from worker.state.tables import facts, jobs


class Job(StrEnum):
    """Each is noted when it has been done to its end: by itself, or for chores by `sms-worker calendar done`."""

    UPKEEP = "upkeep"
    PRUNE = "prune"
    RETENTION = "retention"
    HYGIENE = "hygiene"
    RELEASE = "release"
    REGISTRATION = "registration"
    RESTORE = "restore"


class Term(NamedTuple):
    """
    How often a job is due.

    Attributes:
        every_d: Days between.
        overdue_d: Days after which `SmsJobOverdue` says so.
        how: What does it; for the last three it is people, who say so by `sms-worker calendar done`.
    """

    every_d: float
    overdue_d: float
    how: str


TERMS = {
    Job.UPKEEP: Term(1 / 24, 0.25, "any worker, by itself"),
    Job.PRUNE: Term(1, 2, "sms-worker db prune --yes"),
    Job.RETENTION: Term(1, 2, "sms-worker retention --yes"),
    Job.HYGIENE: Term(60, 120, "sms-worker numbers clean --yes"),
    Job.RELEASE: Term(30, 60, "upgrade: number plans and holidays change"),
    Job.REGISTRATION: Term(90, 120, "senders' registration at operators and providers, countries served"),
    Job.RESTORE: Term(180, 240, "restore database and key ring on another machine"),
}


SINCE = "jobs.since"


async def counted_from(connection: AsyncConnection) -> dict[str, float]:
    """Return since when each job is waited for: when it was done last, or when a worker first began."""
    since = await connection.scalar(sa.select(facts.c.value).where(facts.c.name == SINCE))
    done = {row.name: row.succeeded_at for row in await connection.execute(sa.select(jobs))}
    return ({job.value: float(since) for job in Job} if since else {}) | done


class Jobs:
    """The table of jobs. Every method may raise StateUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert = inserting(database.is_postgresql)

    async def done(self, job: Job) -> None:
        """Note that *job* has been done, now."""
        statement = self._insert(jobs).values(name=job.value, succeeded_at=db_now())
        fresh = {"succeeded_at": statement.excluded.succeeded_at}
        async with self._database.transaction() as connection:
            await connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=fresh))

    async def expect(self) -> None:
        """Begin to count for jobs that were never done: they are overdue once their time has passed, and not at once."""
        since = sa.cast(db_now(), sa.String(40))
        statement = self._insert(facts).values(name=SINCE, value=since).on_conflict_do_nothing()
        async with self._database.transaction() as connection:
            await connection.execute(statement)

    async def last(self) -> dict[str, float]:
        """Return when each was done last: seconds since 1970, by the database's clock."""
        async with self._database.reading() as connection:
            return {row.name: row.succeeded_at for row in await connection.execute(sa.select(jobs))}
