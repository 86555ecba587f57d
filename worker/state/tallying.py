"""Running sums in the database: added to by whoever spends, read by whoever must not spend more."""

from collections.abc import Collection, Mapping

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.policy.guard import Tally
from worker.state.inserting import inserting
from worker.state.tables import tallies

BUCKET_S = 300
SETTLES_S = 600.0  # a code that is newer may yet be typed in
HOUR_S, DAY_S = 3_600.0, 86_400.0


def bucket_of(at: float) -> int:
    """Return the beginning of the five minutes that *at* is in."""
    return int(at // BUCKET_S) * BUCKET_S


async def add(connection: AsyncConnection, amounts: Mapping[tuple[str, int], float]) -> None:
    """Add to sums, by name and bucket; always in the same order, as one waits for the other."""
    rows = [{"name": n, "bucket": b, "amount": amount} for (n, b), amount in sorted(amounts.items()) if amount]
    if not rows:
        return
    insert = inserting(connection.dialect.name == "postgresql")
    statement = insert(tallies)
    more = {"amount": tallies.c.amount + statement.excluded.amount}
    await connection.execute(statement.on_conflict_do_update(index_elements=["name", "bucket"], set_=more), rows)


async def read_sums(connection: AsyncConnection, names: Collection[str]) -> dict[str, float]:
    """Return sums whose names say their time."""
    if not names:
        return {}
    its = sa.select(tallies.c.name, tallies.c.amount).where(tallies.c.name.in_(sorted(names)), tallies.c.bucket == 0)
    return {row.name: row.amount for row in await connection.execute(its)}


async def read_tallies(connection: AsyncConnection, names: Collection[str], now: float) -> dict[str, Tally]:
    """Return what each of *names* came to lately."""

    def since(seconds: float, until: float = float("inf")) -> sa.ColumnElement[float]:
        within = sa.and_(tallies.c.bucket >= bucket_of(now - seconds), tallies.c.bucket <= until)
        return sa.func.coalesce(sa.func.sum(sa.case((within, tallies.c.amount), else_=0.0)), 0.0)

    settled = bucket_of(now - SETTLES_S) - 1.0
    its = (
        sa.select(
            tallies.c.name, since(HOUR_S), since(DAY_S), since(HOUR_S, settled), since(DAY_S, settled), since(SETTLES_S)
        )
        .where(tallies.c.name.in_(sorted(names)), tallies.c.bucket >= bucket_of(now - DAY_S))
        .group_by(tallies.c.name)
    )
    return {name: Tally(*sums) for name, *sums in await connection.execute(its)}
