"""Settling one claim at a time, written for all that gathered."""

import asyncio

import structlog

from schemas.messages import Category, Lane
from worker.delivery.asks import Claimed
from worker.delivery.handover import Plan
from worker.delivery.ledger import Entry, State
from worker.delivery.verdicts import ProviderReason, Submitted
from worker.state.batching import Batcher, hold_until_back
from worker.state.database import Database
from worker.state.hygiene import Hygiene
from worker.state.ledger import Ledger, Settlement, reason_of
from worker.telemetry import metrics

log = structlog.get_logger(__name__)


class BatchedSettler:
    """
    Settles one claim at a time, and writes for all that gathered; waits while the database is away.

    Urgent messages are written apart, so that a code never waits for a batch of offers.
    """

    def __init__(self, database: Database, hygiene: Hygiene) -> None:
        self._hygiene = hygiene
        urgent, others = Ledger(database.urgent), Ledger(database)
        self._urgent: Batcher[Settlement, Entry | None] = Batcher("settle", urgent.settle, forgets=False)
        self._others: Batcher[Settlement, Entry | None] = Batcher("settle", others.settle, forgets=False)

    async def settle(self, plan: Plan, claimed: Claimed, submitted: Submitted) -> Entry | None:
        """Write down what the submit of *claimed* came to; return the row afterwards."""
        if claimed.entry is None:
            raise RuntimeError("the fence hands out a claim with its row")
        settlement = Settlement(
            claimed=claimed.entry,
            answer=submitted.answer,
            burns=plan.refusals_burn,
            outcome=lambda kind: plan.outcome(
                kind, reason_of(kind, submitted), submitted, claimed.verdict or plan.verdict
            ),
            final=submitted.is_final,
            cost=submitted.cost,
        )
        entry = await (self._urgent if plan.lane is Lane.URGENT else self._others).ask(settlement)
        if submitted.reason is ProviderReason.NUMBER_REFUSED and entry is not None and entry.state is State.REJECTED:
            await self._strike(plan)
        return entry

    async def _strike(self, plan: Plan) -> None:
        """The provider refuses the number for good: twice, and it is texted no more."""
        if plan.person is None:
            return
        if await hold_until_back("hygiene")(self._hygiene.strike, plan.person, Category(plan.category)):
            metrics.child(metrics.DEAD_NUMBERS, "refused").inc()
            log.info("number.dead", person=plan.person, category=plan.category)

    async def run(self) -> None:
        """Write for ever; belongs into a TaskGroup."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._urgent.run(), name="settle-urgent")
            tasks.create_task(self._others.run(), name="settle-others")
