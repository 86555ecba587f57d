"""What a check answers. "No" is a value; it is settled and published like everything else that comes of a message."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from schemas.outcomes import OutcomeKind


class Reason(StrEnum):
    """Why a message was not accepted: the closed list behind an outcome's `reason` and the metric's label."""

    EXPIRED = "expired"
    DELAYED = "delayed"
    UNKNOWN_TEMPLATE = "unknown_template"
    SUPERSEDED = "superseded"
    REDRIVEN = "redriven"
    FLOOD = "flood"
    TRY_AGAIN = "try_again"
    OUTSIDE_HOURS = "outside_hours"
    CAP_REACHED = "cap_reached"
    CANCELLED = "cancelled"
    UNKNOWN_CONTACT = "unknown_contact"
    ERASED = "erased"
    INVALID_NUMBER = "invalid_number"
    NOT_MOBILE = "not_mobile"
    COUNTRY_NOT_SERVED = "country_not_served"
    NOT_ON_ALLOW_LIST = "not_on_allow_list"
    BLOCKED = "blocked"
    DEAD_NUMBER = "dead_number"
    SUPPRESSED = "suppressed"
    NO_CONSENT = "no_consent"
    CONSENT_REVOKED = "consent_revoked"
    RECIPIENT_REFUSED = "recipient_refused"
    IN_DOUBT = "in_doubt"
    ALREADY_SEEN = "already_seen"
    NO_ROUTE_MATCHED = "no_route_matched"
    NO_ROUTE = "no_route"


@dataclass(frozen=True, slots=True)
class Send:
    """Nothing known so far speaks against it."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """
    It is not sent, for good.

    Attributes:
        kind: `suppressed` or `expired`.
    """

    kind: OutcomeKind
    reason: Reason


@dataclass(frozen=True, slots=True)
class Defer:
    """
    Not yet: it waits in the database, and gives up its place in the order of its recipient.

    Attributes:
        until: When to look at it again.
    """

    until: datetime
    reason: Reason


Verdict = Send | Refuse | Defer


def suppress(reason: Reason) -> Refuse:
    """Return a `suppressed` with its reason."""
    return Refuse(OutcomeKind.SUPPRESSED, reason)
