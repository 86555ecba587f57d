"""The fence's transaction: lock, read, decide, write. What is decided is in `worker.delivery.fence`."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.delivery.accounts import Account
from worker.delivery.asks import Ask, Reply
from worker.delivery.fence import View, decide
from worker.delivery.superseding import told_apart
from worker.delivery.watching import Watch
from worker.policy.budget import Budget, names
from worker.state.acts import read_acts
from worker.state.cancelling import read_cancelled
from worker.state.counting import read_counted
from worker.state.database import Database
from worker.state.guarding import read_lately, write_watch
from worker.state.inserting import inserting
from worker.state.ledger import Ledger
from worker.state.now import db_now
from worker.state.tables import accounts, cancellations, ledger, projections
from worker.state.tallying import add, read_sums
from worker.state.waiting import SeenEvents, Waiting
from worker.telemetry import metrics

log = structlog.get_logger(__name__)
CLOCK_BACK_S = 1.0  # the database's clock went back by more than a correction of it

_LOCK_ACCOUNT = sa.select(accounts).where(accounts.c.name == sa.bindparam("account")).with_for_update()
_NOW = sa.select(
    db_now().label("now"),
    sa.select(sa.func.count())
    .where(
        ledger.c.account == sa.bindparam("account"),
        ledger.c.state == "claimed",
        ledger.c.lease_until > db_now(),
    )
    .scalar_subquery()
    .label("live_claims"),
    sa.select(sa.func.min(projections.c.caught_up_at)).scalar_subquery().label("caught_up_at"),
    sa.select(sa.func.max(projections.c.caught_up_at)).scalar_subquery().label("newest_at"),
    sa.select(sa.func.count()).select_from(cancellations).scalar_subquery().label("cancellations"),
)


async def lock_accounts(connection: AsyncConnection, names: Collection[str]) -> None:
    """Keep everybody out of the fences of accounts until the transaction ends; in order, as one waits for the other."""
    for name in sorted(names):
        await connection.execute(_LOCK_ACCOUNT, {"account": name})


class FenceStore:
    """
    Runs the fence of one account at a time, for a batch of messages.

    Attributes:
        budgets: By account; as they are now, whatever they were when a message began to wait.
    """

    def __init__(
        self,
        database: Database,
        incarnation: str,
        projection_max_age_s: float,
        urgent_accounts: Collection[str] = (),
    ) -> None:
        self._database = database
        self._ledger = Ledger(database)
        self._waiting = Waiting(database)
        self._seen = SeenEvents(database)
        self._incarnation = incarnation
        self._max_age_s = projection_max_age_s
        self._urgent_accounts = frozenset(urgent_accounts)
        self._told: dict[str, float] = {}
        self.budgets: Mapping[str, Budget] = {}

    async def open_account(self, name: str) -> None:
        """Make the account's row if it is new; its bucket starts empty."""
        insert = inserting(self._database.is_postgresql)
        async with self._database.transaction() as connection:
            statement = insert(accounts).values(name=name, tokens=0.0, refilled_at=db_now()).on_conflict_do_nothing()
            await connection.execute(statement)

    async def pass_through(self, name: str, account: Account, asks: Sequence[Ask]) -> list[Reply]:
        """
        Decide *asks*, which are in order, in one transaction.

        Raises:
            StateUnavailable: The database does not answer; asking again finds what was decided.
        """
        async with self._database.transaction() as connection:
            view = await self._read(connection, name, asks)
            urgent = name in self._urgent_accounts
            decision = decide(
                asks, view, name, account, self._incarnation, self._max_age_s,
                serves_urgent=urgent, budget=self.budgets.get(name),
            )  # fmt: skip
            await self._ledger.write(connection, decision.entries)
            await self._waiting.write(connection, decision.deferrals)
            await write_watch(connection, decision.watch)
            await add(connection, {(name, 0): amount for name, amount in decision.spent.items()})
            changed = accounts.update().where(accounts.c.name == name)
            await connection.execute(changed.values(tokens=decision.tokens, refilled_at=view.now))
        self._tell(decision.watch, view.now)
        return decision.replies

    async def hold(self, name: str, seconds: float, reason: str) -> None:
        """Keep every process from using the account for *seconds*; a longer hold stays."""
        async with self._database.transaction() as connection:
            until = db_now() + seconds
            longer = accounts.update().where(accounts.c.name == name, accounts.c.held_until < until)
            await connection.execute(longer.values(held_until=until, hold_reason=reason))

    async def _read(self, connection: AsyncConnection, name: str, asks: Sequence[Ask]) -> View:
        account = (await connection.execute(_LOCK_ACCOUNT, {"account": name})).one()
        persons = {ask.person for ask in asks if ask.person is not None}
        await self._database.lock_persons(connection, persons)
        now = (await connection.execute(_NOW, {"account": name})).one()
        if (back_s := account.refilled_at - now.now) > CLOCK_BACK_S:
            await self._set_back(connection, name, back_s)
            account = (await connection.execute(_LOCK_ACCOUNT, {"account": name})).one()
            now = (await connection.execute(_NOW, {"account": name})).one()
        acts, suppressed = await read_acts(connection, persons)
        return View(
            now=now.now,
            tokens=account.tokens,
            refilled_at=account.refilled_at,
            held_until=account.held_until,
            live_claims=now.live_claims,
            entries=await self._ledger.load(connection, {ask.message_id for ask in asks}, locked=True),
            acts=acts,
            suppressions=suppressed,
            seen=await self._seen.read(connection, told_apart(name for ask in asks for name in ask.unless)),
            counted=await read_counted(connection, asks, now.now),
            lately=await read_lately(connection, asks, now.now),
            spent=await read_sums(connection, names(name, now.now)) if name in self.budgets else {},
            cancelled=await read_cancelled(connection, asks) if now.cancellations else {},
            projection_age_s=_projection_age_s(now),
        )

    async def _set_back(self, connection: AsyncConnection, name: str, back_s: float) -> None:
        """
        Take back what was stored by a clock that is no more: the database's went back, or another server's counts now.

        The account's last fence tells by how much. Without this the bucket, a hold and the leases of dead processes would
        stop an account for as long as the clock went back.
        """
        log.warning("state.clock_set_back", account=name, seconds=round(back_s, 1))
        claimed = sa.select(ledger.c.message_id).where(ledger.c.account == name, ledger.c.state == "claimed")
        await connection.execute(claimed.order_by(ledger.c.message_id).with_for_update())
        its = ledger.update().where(ledger.c.account == name, ledger.c.state == "claimed")
        earlier = {"lease_until": ledger.c.lease_until - back_s, "ref_since": ledger.c.ref_since - back_s}
        await connection.execute(its.values(**earlier))
        held = accounts.update().where(accounts.c.name == name)
        held_until = sa.case((accounts.c.held_until > 0, accounts.c.held_until - back_s), else_=0.0)
        await connection.execute(held.values(held_until=held_until, refilled_at=db_now()))

    def _tell(self, watch: Watch, now: float) -> None:
        """Count what the guard found, and log each scope once as long as its block lasts, or would last."""
        self._told = {scope: until for scope, until in self._told.items() if until > now}
        for found in watch.found:
            mode, rule, scope = found.watched.rules.mode, found.finding.rule, found.finding.scope
            metrics.child(metrics.GUARD, rule, mode).inc()
            if found.finding.is_new and scope not in self._told:
                self._told[scope] = now + found.watched.rules.block_for.total_seconds()
                log.warning("guard.found", rule=rule, mode=mode, scope=scope)


def _projection_age_s(now: sa.Row[Any]) -> float | None:
    """Return how old the knowledge of consent is; None if nobody knows, as of a partition that is ahead of the clock."""
    if now.caught_up_at is None or now.newest_at > now.now + CLOCK_BACK_S:
        return None
    age_s: float = now.now - now.caught_up_at
    return age_s
