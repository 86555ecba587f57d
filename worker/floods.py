"""
A flood: one template or account whose messages are refused for a reason that is our own fault, one after the other.

It holds until an operator releases it: messages of a held template wait in the database, a held account's lanes pause.
What is wrong with single events never holds anything.
"""

from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from schemas.messages import Message
from worker.errors import DeadLetterReason, PermanentError
from worker.telemetry import metrics

log = structlog.get_logger(__name__)
WINDOW, LEAST, RATIO = 100, 20, 0.5
MOST_SCOPES = 5_000
TEMPLATE_FAULTS = frozenset(
    {
        DeadLetterReason.MISSING_VARIABLE,
        DeadLetterReason.TEMPLATE_FAILED,
        DeadLetterReason.TEXT_TOO_LONG,
        DeadLetterReason.NOT_GSM,
        DeadLetterReason.STOP_MISSING,
        DeadLetterReason.SENDER_REFUSED,
        DeadLetterReason.TEXT_REFUSED,
    }
)
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
    """

    def __init__(self, hold: Callable[[str, str], Awaitable[None]], holds: Callable[[str], bool]) -> None:
        self._hold = hold
        self._holds = holds
        self._recent: dict[str, deque[bool]] = {}

    async def note(self, message: Message, account: str, error: PermanentError | None) -> None:
        """Take in what became of *message*: *error*, or None if it was handled."""
        code = error.code if error else None
        for scope, faults in (
            (template_scope(message.template), TEMPLATE_FAULTS),
            (account_scope(account), ACCOUNT_FAULTS),
        ):
            if len(self._recent) > MOST_SCOPES:  # only somebody else's messages name so many templates
                self._recent.clear()
            recent = self._recent.setdefault(scope, deque(maxlen=WINDOW))
            if self._holds(scope):  # what led to it is no reason to hold again once it is released
                recent.clear()
                continue
            recent.append(code in faults)
            bad = sum(recent)
            if code in faults and bad >= LEAST and bad >= RATIO * len(recent):
                recent.clear()
                metrics.child(metrics.FLOODS_FOUND, code or "").inc()
                log.error("flood.held", scope=scope, reason=code, release=f"sms-worker dead-letters release {scope}")
                await self._hold(scope, code or "")
