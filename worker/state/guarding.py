"""What the abuse guard remembers: who got codes, which were typed in, what is blocked, and what an operator allowed."""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.delivery.asks import Ask
from worker.delivery.watching import Watch
from worker.policy.guard import ANY_VERIFIED, REASON_OF, REQUESTED, SPENT, VERIFIED, Lately, Standing
from worker.state.database import Database
from worker.state.inserting import inserting
from worker.state.now import db_now
from worker.state.tables import code_numbers, contacts, guards
from worker.state.tallying import add, bucket_of, read_tallies


async def read_lately(connection: AsyncConnection, asks: Sequence[Ask], now: float) -> Lately:
    """Return what the guard judges *asks* by; nothing is read where it watches none of them."""
    watched = [(ask.limits.watched, ask.person) for ask in asks if ask.limits.watched and ask.person]
    if not watched:
        return Lately({}, {}, {})
    countries, blocks = {its.country for its, _ in watched}, {its.block for its, _ in watched}
    names = {prefix + country for prefix in (REQUESTED, VERIFIED) for country in countries} | {SPENT, ANY_VERIFIED}
    scopes = {scope for its, person in watched for scope in its.scopes(person).values()}
    rows = await connection.execute(
        sa.select(code_numbers.c.block, code_numbers.c.person, code_numbers.c.at).where(
            code_numbers.c.block.in_(sorted(blocks))
        )
    )
    neighbours: dict[str, dict[str, float]] = defaultdict(dict)
    for row in rows:
        neighbours[row.block][row.person] = row.at
    standings = await connection.execute(sa.select(guards).where(guards.c.scope.in_(sorted(scopes))))
    return Lately(
        await read_tallies(connection, names, now),
        neighbours,
        {row.scope: Standing(row.blocked_until, row.allowed_until, row.reason) for row in standings},
    )


async def write_watch(connection: AsyncConnection, watch: Watch) -> None:
    """Write down which codes go, and what is blocked from now on."""
    insert = inserting(connection.dialect.name == "postgresql")
    numbers = {
        (its.block, ask.person or ""): {
            "block": its.block,
            "person": ask.person,
            "country": its.country,
            "at": watch.now,
        }
        for ask in watch.passed
        if (its := ask.limits.watched)
    }
    if numbers:
        statement = insert(code_numbers)
        again = statement.on_conflict_do_update(
            index_elements=["block", "person"], set_={"at": statement.excluded.at, "verified_at": None}
        )
        await connection.execute(again, [row for _, row in sorted(numbers.items())])
        bucket, amounts = bucket_of(watch.now), Counter[tuple[str, int]]()
        money = 0.0
        for ask in watch.passed:
            if its := ask.limits.watched:
                amounts[REQUESTED + its.country, bucket] += 1
                money += its.cost
        await add(connection, {**amounts, (SPENT, bucket): money})
    for found in watch.found:
        if found.refused and found.finding.is_new:
            until = watch.now + found.watched.rules.block_for.total_seconds()
            reason = REASON_OF[found.finding.rule].value
            statement = insert(guards).values(
                scope=found.finding.scope, reason=reason, blocked_until=until, allowed_until=0.0, at=watch.now
            )
            fresh = {name: statement.excluded[name] for name in ("reason", "blocked_until", "at")}
            await connection.execute(statement.on_conflict_do_update(index_elements=["scope"], set_=fresh))


@dataclass(frozen=True, slots=True)
class Block:
    """A scope that is blocked, or allowed; seconds since 1970."""

    scope: str
    reason: str
    blocked_until: float
    allowed_until: float
    at: float


class Guarding:
    """Every method may raise StateUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def verified(self, subjects: Collection[str]) -> None:
        """
        Note that people typed their codes in; each code counts once, however often that is told.

        Args:
            subjects: Keyed hashes of contacts or numbers.
        """
        async with self._database.transaction() as connection:
            known = await connection.execute(
                sa.select(contacts.c.person).where(contacts.c.subject.in_(subjects), contacts.c.person.is_not(None))
            )
            persons = sorted({*subjects, *known.scalars()})
            await connection.execute(_of(persons))
            fresh = sa.or_(code_numbers.c.verified_at.is_(None), code_numbers.c.verified_at < code_numbers.c.at)
            typed = code_numbers.update().where(code_numbers.c.person.in_(persons), fresh)
            rows = await connection.execute(typed.values(verified_at=db_now()).returning(code_numbers.c.country))
            countries = Counter(rows.scalars())
            if countries:
                bucket = bucket_of(await connection.scalar(sa.select(db_now())) or 0.0)
                amounts = {(VERIFIED + country, bucket): float(count) for country, count in countries.items()}
                await add(connection, {**amounts, (ANY_VERIFIED, bucket): float(countries.total())})

    async def blocks(self) -> list[Block]:
        """Return what is blocked or allowed now."""
        now = db_now()
        its = sa.select(guards).where(sa.or_(guards.c.blocked_until > now, guards.c.allowed_until > now))
        async with self._database.reading() as connection:
            rows = await connection.execute(its.order_by(guards.c.at.desc()))
            return [Block(row.scope, row.reason, row.blocked_until, row.allowed_until, row.at) for row in rows]

    async def allow(self, scope: str, seconds: float) -> bool:
        """Let *scope* pass for so long, whatever the guard says; return whether it was blocked."""
        insert = inserting(self._database.is_postgresql)
        async with self._database.transaction() as connection:
            blocked = sa.select(guards.c.scope).where(guards.c.scope == scope, guards.c.blocked_until > db_now())
            was = await connection.scalar(blocked) is not None
            statement = insert(guards).values(
                scope=scope, reason="allowed", blocked_until=0.0, allowed_until=db_now() + seconds, at=db_now()
            )
            names = ("reason", "blocked_until", "allowed_until", "at")
            fresh = {name: statement.excluded[name] for name in names}
            await connection.execute(statement.on_conflict_do_update(index_elements=["scope"], set_=fresh))
        return was


def _of(persons: Sequence[str]) -> sa.Select[Any]:
    """Lock their rows in order: the fence writes them, too."""
    its = sa.select(code_numbers.c.person).where(code_numbers.c.person.in_(persons))
    return its.order_by(code_numbers.c.block, code_numbers.c.person).with_for_update()
