"""What one message asks of the fence, and what the fence may answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from schemas.messages import Lane
from schemas.outcomes import OutcomeKind
from worker.delivery.deferrals import Deferral
from worker.delivery.ledger import Entry
from worker.delivery.limits import NO_LIMITS, Limits
from worker.policy.verdicts import Defer, Reason, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """
    What one message asks of the fence.

    Attributes:
        holder: Incarnation of the process and number of the ask; a repeated ask finds its own claim by it.
        person: Keyed hash of the number, whose acts decide; None if there is no number.
        purpose: Of marketing; None for transactional.
        verdict: What the checks before the fence said; a refusal is settled here, and takes no token.
        event_at: Seconds since 1970, by the event's own time.
        expires_at: Seconds since 1970; later, it is `expired`.
        queued_at: Monotonic seconds, for age.
        outcome: Makes the payload of an outcome, given the verdict that it comes of.
        step: Of this copy.
        unless: Keyed hashes of events that make it pointless, if they are not earlier than its own.
        replayed: An operator put it back; within its lane it goes last.
        resend: What cannot be known to have been sent is sent once more, under a new key.
        deferral: What waits, if the verdict is to defer.
        limits: Closing time, caps, and operators.
    """

    message_id: str
    fingerprint: str
    holder: str
    lane: Lane
    person: str | None
    purpose: str | None
    segments: int
    verdict: Verdict
    expires_at: float
    queued_at: float
    outcome: Callable[[OutcomeKind, Reason | None, Verdict], bytes]
    event_at: float = 0.0
    step: int = 0
    unless: Sequence[str] = ()
    replayed: bool = False
    resend: bool = False
    deferral: Callable[[Defer], Deferral] | None = None
    limits: Limits = NO_LIMITS


@dataclass(frozen=True, slots=True)
class Claimed:
    """
    The HTTP call may start, within the account's start window since *asked_at* (monotonic).

    Attributes:
        asked_wall: The host's own time of day then; a machine that was paused knows only by it. None if it is not known.
        entry: The row as it was written.
        verdict: With the consent that allows it.
    """

    attempt: int
    holder: str
    asked_at: float = 0.0
    asked_wall: float | None = field(default=None, compare=False, kw_only=True)
    entry: Entry | None = field(default=None, compare=False)
    verdict: Verdict | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Settled:
    """It ended, now or earlier; *payload* is to be published."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Deferred:
    """It waits in the database, or a later copy of it goes on; *payload*, if any, is to be published."""

    payload: bytes | None
    until: Defer | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Busy:
    """Another process is at it; ask again in *retry_in_s*."""

    retry_in_s: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now: the account is held, out of tokens or busy, or consent is not known late enough."""

    retry_in_s: float
    why: str


@dataclass(frozen=True, slots=True)
class IdReused:
    """The same event id came with other content."""


Reply = Claimed | Settled | Deferred | Busy | Wait | IdReused
