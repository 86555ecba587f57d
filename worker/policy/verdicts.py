"""What a check answers. "No" is a value; it is settled and published like everything else that comes of a message."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from schemas.outcomes import OutcomeKind


class Reason(StrEnum):
    """Why a message was not accepted: the closed list behind an outcome's `reason` and the metric's label."""

    EXPIRED = "expired"
    DELAYED = "delayed"
    UNKNOWN_TEMPLATE = "unknown_template"
    SUPERSEDED = "superseded"
    REDRIVEN = "redriven"
    FLOOD = "flood"
    PAUSED = "paused"
    TRY_AGAIN = "try_again"
    OUTSIDE_HOURS = "outside_hours"
    CAP_REACHED = "cap_reached"
    CANCELLED = "cancelled"
    GUARD_COUNTRY = "guard_country"
    GUARD_NUMBER = "guard_number"
    GUARD_NEIGHBOURS = "guard_neighbours"
    GUARD_CONVERSION = "guard_conversion"
    GUARD_SPEND = "guard_spend"
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


class ConsentPlace(NamedTuple):
    """Where the record of the consent stands that allowed a text; its seal is kept as proof."""

    topic: str
    partition: int
    offset: int


class Basis(StrEnum):
    """Why marketing is allowed (CPCE, art. L34-5)."""

    CONSENT = "consent"
    EXISTING_CUSTOMER = "existing_customer"


@dataclass(frozen=True, slots=True)
class Send:
    """
    Nothing known so far speaks against it.

    Attributes:
        consent: What allowed it, where consent was needed.
        basis: Why marketing was allowed.
    """

    consent: ConsentPlace | None = None
    basis: Basis | None = None


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


# Which check a reason comes of; the folder's module of that name, or the place that is said.
CHECK_OF: dict[Reason, str] = {
    Reason.EXPIRED: "expiry",
    Reason.DELAYED: "timing",
    Reason.UNKNOWN_TEMPLATE: "template",
    Reason.SUPERSEDED: "unless",
    Reason.REDRIVEN: "operator",
    Reason.FLOOD: "flood",
    Reason.PAUSED: "operator",
    Reason.TRY_AGAIN: "provider",
    Reason.OUTSIDE_HOURS: "hours",
    Reason.CAP_REACHED: "caps",
    Reason.CANCELLED: "operator",
    Reason.GUARD_COUNTRY: "guard",
    Reason.GUARD_NUMBER: "guard",
    Reason.GUARD_NEIGHBOURS: "guard",
    Reason.GUARD_CONVERSION: "guard",
    Reason.GUARD_SPEND: "guard",
    Reason.UNKNOWN_CONTACT: "contact",
    Reason.ERASED: "contact",
    Reason.INVALID_NUMBER: "number",
    Reason.NOT_MOBILE: "number",
    Reason.COUNTRY_NOT_SERVED: "number",
    Reason.NOT_ON_ALLOW_LIST: "delivery",
    Reason.BLOCKED: "consent",
    Reason.DEAD_NUMBER: "suppression",
    Reason.SUPPRESSED: "suppression",
    Reason.NO_CONSENT: "consent",
    Reason.CONSENT_REVOKED: "consent",
    Reason.RECIPIENT_REFUSED: "provider",
    Reason.IN_DOUBT: "provider",
    Reason.ALREADY_SEEN: "provider",
    Reason.NO_ROUTE_MATCHED: "route",
    Reason.NO_ROUTE: "route",
}
