"""What the state store alone knows of the whole deployment, for metrics and `sms-worker status`."""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.clock import Clock
from worker.delivery.ledger import State
from worker.errors import StateRefused, StateUnavailable
from worker.state.database import Database
from worker.state.now import db_now
from worker.state.tables import accounts, deferred, jobs, ledger, projections
from worker.telemetry import metrics

log = structlog.get_logger(__name__)
EVERY_S = 30.0  # it counts what waits: a million rows take most of a second
HOUR_S = 3600.0
# By when a message is due: the first that holds.
WITHIN = (("overdue", 0.0), ("1h", HOUR_S), ("6h", 6 * HOUR_S), ("24h", 24 * HOUR_S), ("later", float("inf")))


@dataclass(frozen=True, slots=True)
class Told:
    """
    How things stand in the whole deployment. Times are seconds since 1970 by the database's clock.

    Attributes:
        waiting: Deferred messages by lane and reason.
        due: By lane, and within which time they are due.
        open: Messages begun and not ended, by state; a claim past its lease is in doubt.
        held: Accounts, and why each is held; None for one that is not.
        projection_age_s: None if nothing was ever projected.
        jobs: When each was done last.
    """

    waiting: Mapping[tuple[str, str], int]
    due: Mapping[tuple[str, str], int]
    open: Mapping[str, int]
    held: Mapping[str, str | None]
    projection_age_s: float | None
    jobs: Mapping[str, float]


class Telling:
    """Tells metrics how things stand; every process does, and tells the same."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def run(self) -> None:
        """Tell for ever; belongs into a TaskGroup."""
        while True:
            try:
                await self.tell()
            except (StateUnavailable, StateRefused) as error:  # what was told last stands until it is back
                log.warning("telling.failed", error=str(error))
            await self._clock.sleep(random.uniform(0.8, 1.2) * EVERY_S)  # noqa: S311  spreads processes

    async def read(self) -> Told:
        """
        Return how things stand.

        Raises:
            StateUnavailable: The database does not answer.
        """
        async with self._database.reading() as connection:
            waiting, due = await _waiting(connection)
            held = sa.select(accounts.c.name, accounts.c.hold_reason, accounts.c.held_until > db_now())
            oldest = sa.select(db_now() - sa.func.min(projections.c.caught_up_at))
            return Told(
                waiting,
                due,
                await _open(connection),
                {
                    name: (reason or "held") if is_held else None
                    for name, reason, is_held in await connection.execute(held)
                },
                await connection.scalar(oldest),
                {row.name: row.succeeded_at for row in await connection.execute(sa.select(jobs))},
            )

    async def tell(self) -> None:
        """
        Set the metrics.

        Raises:
            StateUnavailable: The database does not answer.
        """
        told = await self.read()
        for metric, counts in ((metrics.WAITING, told.waiting), (metrics.DUE, told.due)):
            metric.clear()
            for labels, count in counts.items():
                metric.labels(*labels).set(count)
        for state, count in told.open.items():
            metrics.child(metrics.LEDGER_OPEN, state).set(count)
        for account, reason in told.held.items():
            metrics.child(metrics.HELD, account).set(reason is not None)
        metrics.PROJECTION_AGE_S.set(math.inf if told.projection_age_s is None else told.projection_age_s)
        for job, at in told.jobs.items():
            metrics.child(metrics.JOB_SUCCEEDED, job).set(at)


async def _waiting(connection: AsyncConnection) -> tuple[dict[tuple[str, str], int], dict[tuple[str, str], int]]:
    within = sa.case(
        *((deferred.c.due <= db_now() + seconds, name) for name, seconds in WITHIN[:-1]), else_=WITHIN[-1][0]
    ).label("within")
    counting = sa.select(deferred.c.lane, deferred.c.reason, within, sa.func.count().label("messages"))
    waiting: dict[tuple[str, str], int] = {}
    due: dict[tuple[str, str], int] = {}
    for row in await connection.execute(counting.group_by(deferred.c.lane, deferred.c.reason, within)):
        for counts, key in ((waiting, (row.lane, row.reason)), (due, (row.lane, row.within))):
            counts[key] = counts.get(key, 0) + row.messages
    return waiting, due


async def _open(connection: AsyncConnection) -> dict[str, int]:
    """Count by the two partial indexes; what has ended is never looked at."""
    counts = dict.fromkeys((State.CLAIMED.value, State.IN_DOUBT.value, State.RELEASED.value), 0)
    lapsed = (ledger.c.lease_until < db_now()).label("lapsed")
    claims = sa.select(lapsed, sa.func.count()).where(ledger.c.state == "claimed").group_by(lapsed)
    for is_over, count in await connection.execute(claims):
        counts[State.IN_DOUBT.value if is_over else State.CLAIMED.value] += count
    others = sa.select(ledger.c.state, sa.func.count()).where(ledger.c.state.in_(["released", "in_doubt"]))
    for state, count in await connection.execute(others.group_by(ledger.c.state)):
        counts[state] += count
    return counts
