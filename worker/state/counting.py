"""What numbers got lately, for their caps: the ledger's rows are the reservations, given back as their state says."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.delivery.asks import Ask
from worker.delivery.limits import Limits
from worker.policy.caps import Counted
from worker.state.many import among
from worker.state.tables import ledger

# What was sent, or may have been; a refusal gives the place back.
_COUNT = ("claimed", "in_doubt", "sent", "unknown")
_SELECT = sa.select(ledger.c.message_id, ledger.c.person, ledger.c.scope, ledger.c.claimed_at).where(
    among(ledger.c.person, "persons"),
    ledger.c.claimed_at > sa.bindparam("since", type_=sa.Double),
    ledger.c.state.in_([sa.literal(state, literal_execute=True) for state in _COUNT]),
)


async def read_counted(connection: AsyncConnection, asks: Sequence[Ask], now: float) -> dict[str, list[Counted]]:
    """Return what the numbers of *asks* got within their longest cap; their locks are held.

    The time is bound as a number: an expression of the database's clock would keep the index from being used for it.
    """
    capped = [ask for ask in asks if (ask.limits.caps or ask.limits.watched) and ask.person is not None]
    found: dict[str, list[Counted]] = defaultdict(list)
    if not capped:
        return found
    longest_s = max((seconds for ask in capped for seconds in _stretches(ask.limits)), default=0.0)
    persons = sorted({ask.person for ask in capped if ask.person is not None})
    for row in await connection.execute(_SELECT, {"persons": persons, "since": now - longest_s}):
        found[row.person].append(Counted(row.message_id, row.scope, row.claimed_at))
    return found


def _stretches(limits: Limits) -> Iterator[float]:
    yield from (cap.seconds for cap in limits.caps)
    if limits.watched is not None:
        yield from (rule.per.total_seconds() for rule in limits.watched.rules.numbers)
