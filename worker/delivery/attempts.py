"""One attempt: start in time or not at all, hand over, write down what came of it."""

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from worker.clock import Clock
from worker.delivery.accounts import Account
from worker.delivery.asks import Claimed
from worker.delivery.ledger import Answer, client_ref
from worker.delivery.verdicts import Provider, ProviderReason, Sms, Submitted

# A provider that fails so many messages in a row, without one answer between, is away: everybody holds.
FAILURES_TO_HOLD = 5
# A connection that is refused is mostly one of a pool's that was closed: nothing was sent, and the next one stands.
IN_PLACE_S = (0.05, 0.25)
LONGEST_HOLD_S = 15.0
MARGIN_S = 10.0


@dataclass(slots=True)
class Breaker:
    """
    Counts what failed in a row at one account, and says how long to hold.

    Different messages count: one that always fails says something of itself, and must not hold everybody's codes.
    """

    failing: set[str] = field(default_factory=set)
    failures: int = 0

    @property
    def is_open(self) -> bool:
        """Whether the account, and not a single message, is in trouble."""
        return len(self.failing) >= FAILURES_TO_HOLD

    def note(self, message_id: str, submitted: Submitted) -> float | None:
        """Return the seconds that the account must rest after this answer, if any."""
        if submitted.hold_s is not None:
            return submitted.hold_s
        if submitted.reason is ProviderReason.TOO_LATE_TO_START:  # our own slowness says nothing of the provider
            return None
        if submitted.answer not in (Answer.NOT_SENT, Answer.AMBIGUOUS):
            self.failing.clear()
            self.failures = 0
            return None
        self.failing.add(message_id)
        if submitted.answer is Answer.AMBIGUOUS and not self.is_open:
            return None
        self.failures += 1
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
        self._tried_at = clock.monotonic()

    @property
    def breaker_open(self) -> bool:
        """
        Whether the provider has answered nothing but failures of late, whatever hold comes and goes meanwhile.

        An open breaker tries at least once in a hold and two deadlines; one that has not for longer has nothing to send.
        """
        silent_s = 1.2 * LONGEST_HOLD_S + 2 * self.account.http_deadline_s + MARGIN_S
        return self._breaker.is_open and self._clock.monotonic() - self._tried_at < silent_s

    async def submit(self, message_id: str, claimed: Claimed, sms: Sms) -> Submitted:
        """
        Hand *sms* over, if the claim's start window is still open; once more at once, if no connection came about.

        A process that froze between the fence and here must not send: its claim may be another's by now.
        """
        ref = client_ref(message_id, claimed.attempt)
        submitted = await self._submit_once(ref, claimed, sms)
        if (
            submitted.reason is ProviderReason.CONNECT_FAILED
        ):  # one more; a retry object for each message costs a sixth of it
            await self._clock.sleep(random.uniform(*IN_PLACE_S))  # noqa: S311  spreads requests, hides nothing
            submitted = await self._submit_once(ref, claimed, sms)
        if submitted.reason is not ProviderReason.TOO_LATE_TO_START:
            self._tried_at = self._clock.monotonic()
        rest_s = self._breaker.note(message_id, submitted)
        if rest_s is None:
            return submitted
        await self._hold(self.name, rest_s, submitted.reason)
        return replace(submitted, hold_s=rest_s)

    async def _submit_once(self, ref: str, claimed: Claimed, sms: Sms) -> Submitted:
        ran_s = self._clock.monotonic() - claimed.asked_at
        if claimed.asked_wall is not None:  # a machine that was paused, or a clock that moved on: too late is safe
            ran_s = max(ran_s, time.time() - claimed.asked_wall)
        if ran_s >= self.account.start_window_s:
            return Submitted(answer=Answer.NOT_SENT, reason=ProviderReason.TOO_LATE_TO_START)
        return await self.provider.send(sms, ref)
