"""What persons did and what was decided about them, as the consent rules read it."""

from collections import defaultdict
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.policy.consent import Act, DatedAct, Suppression
from worker.policy.verdicts import ConsentPlace
from worker.state.many import among
from worker.state.tables import consents, suppressions

SUPPRESSED = "suppressed"
_COLUMNS = (
    consents.c.person,
    consents.c.act,
    consents.c.purpose,
    consents.c.at,
    consents.c.topic,
    consents.c.partition,
    consents.c.offset,
)
_THEIRS = among(consents.c.person, "persons")
_KIND = (consents.c.person, consents.c.act, consents.c.purpose)
# The latest act of each kind with its record's place. SQLite takes the other columns from the row of the greatest.
_LATEST_POSTGRESQL = (
    sa.select(*_COLUMNS)
    .ext(postgresql.distinct_on(*_KIND))
    .where(_THEIRS)
    .order_by(*_KIND, consents.c.at.desc())
    .subquery()
)
_LATEST_SQLITE = (
    sa.select(*(sa.func.max(column).label("at") if column is consents.c.at else column for column in _COLUMNS))
    .where(_THEIRS)
    .group_by(*_KIND)
    .subquery()
)
_SUPPRESSED = sa.select(
    suppressions.c.person,
    suppressions.c.scope,
    suppressions.c.at,
    suppressions.c.reason,
).where(among(suppressions.c.person, "persons"))


def _acts_and_suppressions(latest: sa.Subquery) -> sa.CompoundSelect[Any]:
    """Return one statement for both: the fence asks for every batch."""
    its = latest.c
    acts = sa.select(its.person, its.act, its.purpose, its.at, its.topic, its.partition, its.offset)
    suppressed = _SUPPRESSED.subquery().c
    none = sa.literal(0, sa.Integer)
    return acts.union_all(
        sa.select(
            suppressed.person, sa.literal(SUPPRESSED), suppressed.scope, suppressed.at, suppressed.reason, none, none
        )
    )


_POSTGRESQL, _SQLITE = _acts_and_suppressions(_LATEST_POSTGRESQL), _acts_and_suppressions(_LATEST_SQLITE)


async def read_acts(
    connection: AsyncConnection, persons: Collection[str]
) -> tuple[dict[str, list[DatedAct]], dict[str, list[Suppression]]]:
    """Return the latest acts of each kind, and the suppressions, of *persons*."""
    acts: dict[str, list[DatedAct]] = defaultdict(list)
    suppressed: dict[str, list[Suppression]] = defaultdict(list)
    if not persons:
        return acts, suppressed
    statement = _POSTGRESQL if connection.dialect.name == "postgresql" else _SQLITE
    for person, act, purpose, at, told, partition, offset in await connection.execute(
        statement, {"persons": sorted(persons)}
    ):
        if act == SUPPRESSED:
            suppressed[person].append(Suppression(purpose, told, at))
        else:
            acts[person].append(DatedAct(Act(act), purpose, at, ConsentPlace(told, partition, offset)))
    return acts, suppressed
