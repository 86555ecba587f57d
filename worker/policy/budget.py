"""Money: what a category may cost a day and a month. Reserved in the fence, settled by what the provider charged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from worker.policy.rules import BudgetRule

WARN_AT = 0.8


@dataclass(frozen=True, slots=True)
class Budget:
    """
    A budget of one account.

    Attributes:
        account: Whose.
        rule: The most it may cost.
        holds: At 100 % it holds; otherwise it only warns.
    """

    account: str
    rule: BudgetRule
    holds: bool

    def tallies(self, at: float) -> dict[str, float]:
        """Return the names of the tallies at *at* (seconds since 1970) with the most that each may come to."""
        mosts = zip(names(self.account, at), (self.rule.per_day, self.rule.per_month), strict=True)
        return {name: most for name, most in mosts if most is not None}

    def shares(self, spent: Mapping[str, float], at: float) -> dict[str, float]:
        """Return how much of it is spent, `day` and `month`, 1.0 being all."""
        return {name.split(":")[1]: spent.get(name, 0.0) / most for name, most in self.tallies(at).items()}

    def is_spent(self, spent: Mapping[str, float], cost: float, at: float) -> bool:
        """Return whether *cost* more would be too much."""
        return any(spent.get(name, 0.0) + cost > most for name, most in self.tallies(at).items())


def names(account: str, at: float) -> Sequence[str]:
    """Return the names of an account's tallies at *at*: of its day and its month, in UTC."""
    day = datetime.fromtimestamp(at, UTC)
    return f"budget:day:{account}:{day:%Y-%m-%d}", f"budget:month:{account}:{day:%Y-%m}"
