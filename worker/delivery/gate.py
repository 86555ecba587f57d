"""What one account can take while a batch passes the fence: tokens, requests under way, money."""

from collections.abc import Mapping

from schemas.messages import Lane
from worker.delivery.accounts import Account
from worker.delivery.asks import Ask, Wait
from worker.policy.budget import Budget, names

# How much of the bucket each lane leaves for those before it.
THRESHOLD = {Lane.URGENT: 0.0, Lane.TRANSACTIONAL: 0.1, Lane.MARKETING: 0.3}
BUDGET_NAP_S = 5.0


class Gate:
    """
    Lets messages through, in order.

    Args:
        account: Whose.
        name: Its name.
        now: Seconds since 1970, by the database's clock.
        tokens: In the bucket now.
        held_until: Until when nobody may use the account.
        in_flight: Requests under way, of every process.
        spent: What tallies of its budget have come to.
        reserved: Requests that only the urgent lane may have.
        budget: That everything is paid from, as it is by now: what has waited for money may go once there is more.

    Attributes:
        added: What this batch adds to the tallies of money.
    """

    def __init__(
        self,
        account: Account,
        name: str,
        now: float,
        tokens: float,
        held_until: float,
        in_flight: int,
        spent: Mapping[str, float],
        reserved: int,
        budget: Budget | None,
    ) -> None:
        self._account = account
        self._name = name
        self._now = now
        self._held_until = held_until
        self._in_flight = in_flight
        self._spent = dict(spent)
        self._reserved = reserved
        self._budget = budget
        self._shut: Wait | None = None
        self.tokens = tokens
        self.added: dict[str, float] = {}

    def pass_through(self, ask: Ask, already: float) -> Wait | None:
        """
        Take what *ask* needs, or say how long to wait; who comes later never passes who waits.

        Args:
            ask: What is to be sent.
            already: Money that is reserved for it from an earlier attempt.
        """
        self._shut = self._shut or self._refuse(ask, already)
        if self._shut is None:
            self.tokens -= ask.segments
            self._in_flight += 1
            if self._budget is not None:
                self._spend((ask.limits.cost or 0.0) - already)
        return self._shut

    def reserved(self, ask: Ask, already: float) -> float | None:
        """Return what *ask* has reserved by now; None if nobody keeps a budget."""
        return (ask.limits.cost or 0.0) if self._budget is not None else already or None

    def _spend(self, money: float) -> None:
        for name in names(self._name, self._now):
            self._spent[name] = self._spent.get(name, 0.0) + money
            self.added[name] = self.added.get(name, 0.0) + money

    def _refuse(self, ask: Ask, already: float) -> Wait | None:
        if self._held_until > self._now:
            return Wait(min(self._held_until - self._now, 5.0), "held")
        budget, more = self._budget, (ask.limits.cost or 0.0) - already
        if budget is not None and budget.holds and more > 0 and budget.is_spent(self._spent, more, self._now):
            return Wait(BUDGET_NAP_S, "budget")
        reserved = 0 if ask.lane is Lane.URGENT else self._reserved
        if self._in_flight >= self._account.max_in_flight - reserved:
            return Wait(0.05, "in_flight")
        missing = self._need(ask) - self.tokens
        return Wait(missing / self._account.segments_per_second, "rate") if missing > 0 else None

    def _need(self, ask: Ask) -> float:
        """Tokens that must be there: above the lane's threshold, but never more than the bucket can hold."""
        bucket = self._account.bucket
        if ask.lane is Lane.URGENT:  # may go into debt by one message
            return min(1.0, bucket)
        return min(ask.segments + THRESHOLD[ask.lane] * bucket, bucket)
