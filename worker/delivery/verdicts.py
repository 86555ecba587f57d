"""What a provider said, in our words; each provider's module has the table from its codes to these."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from worker.delivery.ledger import Answer
from worker.errors import DeadLetterReason


class ProviderReason(StrEnum):
    """Why a submit was not accepted: a closed list, for logs and the metric's label."""

    OK = "ok"
    ALREADY_SEEN = "already_seen"
    TOO_LATE_TO_START = "too_late_to_start"
    CONNECT_FAILED = "connect_failed"
    RATE_LIMITED = "rate_limited"
    TIMED_OUT = "timed_out"
    CONNECTION_LOST = "connection_lost"
    SERVER_ERROR = "server_error"
    UNREADABLE_ANSWER = "unreadable_answer"
    REDIRECTED = "redirected"
    RECIPIENT_REFUSED = "recipient_refused"
    NUMBER_REFUSED = "number_refused"
    SENDER_REFUSED = "sender_refused"
    TEXT_REFUSED = "text_refused"
    UNKNOWN_CODE = "unknown_code"
    NO_CREDIT = "no_credit"
    BAD_CREDENTIALS = "bad_credentials"


@dataclass(frozen=True, slots=True)
class Sms:
    """
    What is handed over. Its number and text appear in no log.

    Attributes:
        traceparent: Of its event, for the provider; a span of our own is handed on in its place where there is one.
    """

    to: str
    text: str
    sender: str
    marketing: bool
    traceparent: str | None = None

    def __repr__(self) -> str:
        return f"Sms(sender={self.sender!r}, marketing={self.marketing})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """
    What a submit came to.

    Attributes:
        code: The provider's own, for logs.
        hold_s: How long the account must rest before anybody uses it again.
        dead_letter: It is our fault: why, so that somebody mends it and replays.
        segments: As the provider counts them.
        credit: What is left of the account's, in its currency.
    """

    answer: Answer
    reason: ProviderReason = ProviderReason.OK
    code: str | None = None
    hold_s: float | None = None
    dead_letter: DeadLetterReason | None = None
    provider_ref: str | None = None
    cost: float | None = None
    currency: str | None = None
    segments: int | None = None
    credit: float | None = None

    @property
    def is_final(self) -> bool:
        """Whether it is about this very message, and would be said again."""
        return self.answer is Answer.RECIPIENT_REFUSED or self.dead_letter is not None


class Line(StrEnum):
    """What a look-up (HLR) says of a number."""

    LIVE = "live"
    DEAD = "dead"
    UNDECIDED = "undecided"


class LineChecker(Protocol):
    """Looks numbers up in their home registers. It costs money, and is never on the way of a text."""

    async def look_up(self, numbers: Sequence[str]) -> dict[str, Line]:
        """
        Return what is known of *numbers*, in E.164.

        Raises:
            LookUpFailed: The provider does not answer, or refuses.
        """


class Provider(Protocol):
    """Hands an SMS over."""

    name: str

    async def send(self, sms: Sms, ref: str) -> Submitted:
        """Submit *sms* under the idempotency key *ref*; every failure is an answer, nothing is raised."""
