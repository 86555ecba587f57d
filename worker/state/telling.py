"""What the state store alone knows of the whole deployment, for metrics and `sms-worker status`."""

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import orjson
import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.clock import Clock
from worker.delivery.ledger import State
from worker.errors import StateRefused, StateUnavailable
from worker.state.database import Database
from worker.state.jobs import counted_from
from worker.state.now import db_now
from worker.state.snapshots import Snapshot
from worker.state.tables import accounts, deferred, ledger, projections
from worker.telemetry import metrics
from worker.telemetry.resources import Resource, failed

log = structlog.get_logger(__name__)
EVERY_S = 30.0
LATELY_S = 60.0
COUNTED_EVERY_S = 25.0  # less than any process's own period, so that somebody's turn comes with each
HOUR_S, HOURS = 3600.0, 24
OVERDUE, LATER = "overdue", "later"
DUE = (OVERDUE, *(f"{hour}h" for hour in range(1, HOURS + 1)), LATER)  # within so many hours


class Waiting(NamedTuple):
    """
    Deferred messages that are alike.

    Attributes:
        due: Of `DUE`, the first that holds.
    """

    lane: str
    reason: str
    due: str
    messages: int


@dataclass(frozen=True, slots=True)
class Counts:
    """
    What is dear to count: it takes a second for some million rows.

    Attributes:
        open: Messages begun and not ended, by state; a claim past its lease is in doubt.
    """

    waiting: Sequence[Waiting]
    open: Mapping[str, int]

    def by(self, *fields: str) -> dict[tuple[str, ...], int]:
        """Return how many messages wait, by fields of `Waiting`."""
        counts: Counter[tuple[str, ...]] = Counter()
        for one in self.waiting:
            counts[tuple(getattr(one, field) for field in fields)] += one.messages
        return dict(counts)


@dataclass(frozen=True, slots=True)
class Told:
    """
    How things stand in the whole deployment. Times are seconds since 1970 by the database's clock.

    Attributes:
        held: Accounts, and why each is held; None for one that is not.
        projection_age_s: None if nothing was ever projected.
        rested: Accounts whose hold ended within the last minute, and why there was one: they may be held again at once.
        jobs: When each was done last, or when a worker first began.
    """

    held: Mapping[str, str | None]
    rested: Mapping[str, str]
    projection_age_s: float | None
    jobs: Mapping[str, float]


class Telling:
    """Tells metrics how things stand; every process does, and tells the same, but only one of them counts."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._shared = Snapshot(database, "counts-1", COUNTED_EVERY_S, self._counted)

    async def run(self) -> None:
        """Tell for ever; belongs into a TaskGroup."""
        while True:
            try:
                await self.tell()
            except (StateUnavailable, StateRefused) as error:  # what was told last stands until it is back
                log.warning("telling.failed", error=str(error))
                failed(Resource.DATABASE, "telling")
            await self._clock.sleep(random.uniform(0.8, 1.2) * EVERY_S)  # noqa: S311  spreads processes

    async def read(self) -> Told:
        """
        Return how things stand.

        Raises:
            StateUnavailable: The database does not answer.
        """
        async with self._database.reading() as connection:
            now: float = (await connection.execute(sa.select(db_now()))).scalar_one()
            holds = (
                await connection.execute(sa.select(accounts.c.name, accounts.c.hold_reason, accounts.c.held_until))
            ).all()
            oldest = sa.select(db_now() - sa.func.min(projections.c.caught_up_at))
            return Told(
                {name: (reason or "held") if until > now else None for name, reason, until in holds},
                {name: reason or "held" for name, reason, until in holds if now - LATELY_S < until <= now},
                await connection.scalar(oldest),
                await counted_from(connection),
            )

    async def count(self) -> Counts:
        """
        Return what waits and what is open, as it is now.

        Raises:
            StateUnavailable: The database does not answer.
        """
        async with self._database.reading() as connection:
            return Counts(await _waiting(connection), await _open(connection))

    async def _counted(self) -> str:
        counts = await self.count()
        return orjson.dumps({"waiting": [tuple(one) for one in counts.waiting], "open": counts.open}).decode()

    async def tell(self) -> None:
        """
        Set the metrics.

        Raises:
            StateUnavailable: The database does not answer.
        """
        told = await self.read()
        for account, reason in told.held.items():
            metrics.child(metrics.HELD, account).set(reason is not None)
        metrics.PROJECTION_AGE_S.set(math.inf if told.projection_age_s is None else told.projection_age_s)
        for job, at in told.jobs.items():
            metrics.child(metrics.JOB_SUCCEEDED, job).set(at)
        counted = await self._shared.get()
        its = orjson.loads(counted) if counted is not None else {"waiting": [], "open": {}}  # nobody knows: say nothing
        _tell(Counts([Waiting(*one) for one in its["waiting"]], its["open"]))


def _tell(counts: Counts) -> None:
    for metric, fields in ((metrics.WAITING, ("lane", "reason")), (metrics.DUE, ("lane", "due"))):
        metric.clear()
        for labels, count in counts.by(*fields).items():
            metric.labels(*labels).set(count)
    for state, count in counts.open.items():
        metrics.child(metrics.LEDGER_OPEN, state).set(count)


async def _waiting(connection: AsyncConnection) -> list[Waiting]:
    now: float = (await connection.execute(sa.select(db_now()))).scalar_one()
    within = sa.case(*((deferred.c.due <= now + hour * HOUR_S, DUE[hour]) for hour in range(HOURS + 1)), else_=LATER)
    its = (deferred.c.lane, deferred.c.reason, within.label("within"))
    counting = sa.select(*its, sa.func.count()).group_by(*its)
    return [Waiting(*row) for row in await connection.execute(counting)]


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
