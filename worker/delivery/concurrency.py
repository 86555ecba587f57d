"""
How many requests this process has with a provider at once: fewer than allowed while the provider struggles.

Additive increase, multiplicative decrease, and a slow start after a hold (as in RFC 5681, 3.1). The account's own limit,
which all processes share, is decided in the fence; this one is only ever below it.
"""

from worker.delivery.ledger import Answer
from worker.delivery.verdicts import ProviderReason, Submitted

DECREASE = 0.7
# What says that a provider is overloaded; a refused number says the contrary.
STRUGGLES = frozenset(
    {
        ProviderReason.RATE_LIMITED,
        ProviderReason.TIMED_OUT,
        ProviderReason.CONNECTION_LOST,
        ProviderReason.CONNECT_FAILED,
        ProviderReason.SERVER_ERROR,
    }
)


class ConcurrencyLimit:
    """
    The limit, and what is under way.

    Args:
        most: The account's `max_in_flight`.
    """

    def __init__(self, most: int) -> None:
        self._most = float(most)
        self._limit = float(most)
        self._slow_until = float(most)  # below it, each success doubles what a round trip may carry
        self._decreased_under: int | None = None
        self.begun = 0
        self.under_way = 0

    @property
    def limit(self) -> int:
        """Requests that may be under way at once, at least one."""
        return max(1, int(self._limit))

    @property
    def room(self) -> int:
        """How many more may begin."""
        return max(0, self.limit - self.under_way)

    def begin(self) -> None:
        """Note that a request may begin: its claim was handed out."""
        self.under_way += 1
        self.begun += 1

    def end(self, mark: int, submitted: Submitted | None) -> None:
        """
        Note what a request came to; None if it was never made.

        Args:
            mark: How many had begun when it did; if the limit was lowered since, it tells nothing new of an overload.
            submitted: What the provider said.
        """
        self.under_way -= 1
        if submitted is None:
            return
        if submitted.reason in STRUGGLES:
            if self._decreased_under is None or mark > self._decreased_under:
                self._limit = max(1.0, self._limit * DECREASE)
                self._slow_until = self._limit
                self._decreased_under = self.begun
        elif submitted.answer is not Answer.NOT_SENT:
            step = 1.0 if self._limit < self._slow_until else 1.0 / self._limit
            self._limit = min(self._most, self._limit + step)

    def restart(self) -> None:
        """After a hold begin with one, and double from there."""
        self._slow_until = max(self._slow_until, self._limit / 2)
        self._limit = 1.0
