"""
A flood: one template or account whose messages are refused for a reason that is our own fault, one after the other.

It holds until an operator releases it: messages of a held template wait in the database, a held account's lanes pause.
What may be wrong with single events holds only when next to nothing else comes of the template.
"""

import time
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from schemas.messages import Message
from worker.errors import DeadLetterReason
from worker.telemetry import metrics

log = structlog.get_logger(__name__)
WINDOW, LEAST, RATIO = 100, 20, 0.5
LONGEST_S = 1800.0  # what happened earlier says nothing of the template as it is now
MOST_SCOPES = 5_000
# The template's or the configuration's fault, whatever the event says.
TEMPLATE_FAULTS = frozenset(
    {
        DeadLetterReason.STOP_MISSING,
        DeadLetterReason.SENDER_REFUSED,
        DeadLetterReason.TEXT_REFUSED,
        DeadLetterReason.CATEGORY_CHANGED,
        DeadLetterReason.UNKNOWN_TEMPLATE,
        DeadLetterReason.INTERNAL_ERROR,
    }
)
# As much the fault of one emitter's values: only a broken template fails with (almost) everything.
VALUE_FAULTS = frozenset(
    {
        DeadLetterReason.MISSING_VARIABLE,
        DeadLetterReason.TEMPLATE_FAILED,
        DeadLetterReason.TEXT_TOO_LONG,
        DeadLetterReason.NOT_GSM,
        DeadLetterReason.ADVERTISING,
    }
)
VALUE_RATIO = 0.9
ACCOUNT_FAULTS = frozenset({DeadLetterReason.UNKNOWN_PROVIDER_CODE})


def template_scope(template: str) -> str:
    """Return the name under which a template holds."""
    return f"template:{template}"


def account_scope(account: str) -> str:
    """Return the name under which an account holds."""
    return f"account:{account}"


class Floods:
    """
    Counts what became of messages, by template and by account.

    Args:
        hold: Holds a scope for every process, until it is released.
        holds: Whether a scope holds already, as far as this process has heard.
        now: Monotonic seconds.
    """

    def __init__(
        self,
        hold: Callable[[str, str], Awaitable[None]],
        holds: Callable[[str], bool],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hold = hold
        self._holds = holds
        self._now = now
        self._recent: dict[str, deque[tuple[float, DeadLetterReason | None]]] = {}

    def forget(self, scope: str) -> None:
        """Begin anew with *scope*: what led to a hold is no reason to hold again once somebody has released it."""
        self._recent.pop(scope, None)

    async def note(self, message: Message, account: str, code: DeadLetterReason | None) -> None:
        """Take in that *message* was sent, or refused by its number (None), or became a dead letter for *code*."""
        await self._note(template_scope(message.template), code, TEMPLATE_FAULTS | VALUE_FAULTS)
        await self._note(account_scope(account), code, ACCOUNT_FAULTS)

    async def _note(self, scope: str, code: DeadLetterReason | None, faults: frozenset[DeadLetterReason]) -> None:
        if (code is not None and code not in faults) or self._holds(scope):
            return
        if len(self._recent) > MOST_SCOPES:  # only somebody else's messages name so many templates
            self._recent.clear()
        recent = self._recent.setdefault(scope, deque(maxlen=WINDOW))
        recent.append((self._now(), code))
        while recent[0][0] < self._now() - LONGEST_S:
            recent.popleft()
        if code is None or not self._is_flood([one for _, one in recent]):
            return
        self.forget(scope)
        metrics.child(metrics.FLOODS_FOUND, code).inc()
        log.error("flood.held", scope=scope, reason=code, release=f"sms-worker dead-letters release {scope}")
        await self._hold(scope, code)

    @staticmethod
    def _is_flood(recent: list[DeadLetterReason | None]) -> bool:
        bad = sum(code is not None for code in recent)
        by_values = sum(code in VALUE_FAULTS for code in recent)
        ratio = VALUE_RATIO if by_values > bad / 2 else RATIO
        return bad >= LEAST and bad >= ratio * len(recent)
