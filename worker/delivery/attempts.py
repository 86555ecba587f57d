"""One attempt: start in time or not at all, hand over, write down what came of it."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from worker.clock import Clock
from worker.delivery.accounts import Account
from worker.delivery.fence import Claimed
from worker.delivery.ledger import Answer, client_ref
from worker.delivery.verdicts import Provider, ProviderReason, Sms, Submitted

# A provider that fails this often in a row, without one answer between, is away: everybody holds.
FAILURES_TO_HOLD = 5
LONGEST_HOLD_S = 15.0


@dataclass(slots=True)
class Breaker:
    """Counts what failed in a row at one account, and says how long to hold."""

    failures: int = 0

    def note(self, submitted: Submitted) -> float | None:
        """Return the seconds that the account must rest after this answer, if any."""
        if submitted.hold_s is not None:
            return submitted.hold_s
        if (
            submitted.answer not in (Answer.NOT_SENT, Answer.AMBIGUOUS)
            or submitted.reason is ProviderReason.TOO_LATE_TO_START
        ):
            self.failures = 0
            return None
        self.failures += 1
        if submitted.answer is Answer.AMBIGUOUS and self.failures < FAILURES_TO_HOLD:
            return None
        doubled = 0.25 * 2.0 ** min(self.failures, 10)
        return min(LONGEST_HOLD_S, doubled) * random.uniform(0.8, 1.2)  # noqa: S311  spreads processes, hides nothing


class Attempts:
    """Hands messages of one account to its provider."""

    def __init__(
        self,
        name: str,
        account: Account,
        provider: Provider,
        clock: Clock,
        hold: Callable[[str, float, str], Awaitable[None]],
    ) -> None:
        self.name = name
        self.account = account
        self.provider = provider
        self._clock = clock
        self._hold = hold
        self._breaker = Breaker()

    async def submit(self, message_id: str, claimed: Claimed, sms: Sms) -> Submitted:
        """
        Hand *sms* over, if the claim's start window is still open.

        A process that froze between the fence and here must not send: its claim may be another's by now.
        """
        if self._clock.monotonic() - claimed.asked_at >= self.account.start_window_s:
            return Submitted(answer=Answer.NOT_SENT, reason=ProviderReason.TOO_LATE_TO_START)
        submitted = await self.provider.send(sms, client_ref(message_id, claimed.attempt))
        rest_s = self._breaker.note(submitted)
        if rest_s is not None:
            await self._hold(self.name, rest_s, submitted.reason)
        return submitted
