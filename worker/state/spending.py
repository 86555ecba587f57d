"""How much of each budget is spent: for a metric, and a warning before it is all."""

from collections.abc import Collection

import structlog

from worker.clock import Clock
from worker.policy.budget import WARN_AT, Budget, names
from worker.state.batching import hold_until_back
from worker.state.database import Database
from worker.state.tallying import read_sums
from worker.telemetry import metrics

log = structlog.get_logger(__name__)
EVERY_S = 10.0


class Spending:
    """
    Tells how budgets stand; every process does, as the sums are everybody's.

    Attributes:
        budgets: That are kept.
    """

    def __init__(self, database: Database, budgets: Collection[Budget], clock: Clock) -> None:
        self._database = database
        self.budgets = budgets
        self._clock = clock
        self._warned: set[tuple[str, str]] = set()

    async def run(self) -> None:
        """Tell for ever; belongs into a TaskGroup."""
        while True:
            if self.budgets:
                await hold_until_back("budgets")(self.tell)
            await self._clock.sleep(EVERY_S)

    async def tell(self) -> None:
        """
        Set the metric, and warn once of each budget that passes 80 %, and once when all is spent.

        Raises:
            StateUnavailable: The database does not answer.
        """
        now = self._clock.now().timestamp()
        async with self._database.reading() as connection:
            wanted = {name for one in self.budgets for name in names(one.account, now)}
            spent = await read_sums(connection, wanted)
        for one in self.budgets:
            for period, share in one.shares(spent, now).items():
                metrics.BUDGET_SHARE.labels(one.account, period).set(share)
                self._warn(one, period, share, now)

    def _warn(self, budget: Budget, period: str, share: float, now: float) -> None:
        for most, event in ((1.0, "budget.spent"), (WARN_AT, "budget.warning")):
            name = next(name for name in names(budget.account, now) if name.startswith(f"budget:{period}:"))
            if share >= most and (name, event) not in self._warned:
                self._warned.add((name, event))
                log.warning(event, account=budget.account, period=period, share=round(share, 3), holds=budget.holds)
                return
