"""
Who may be texted, by the person's dated acts.

A grant counts only if it is strictly later than every withdrawal; ties go to the withdrawal, so a grant that is replayed
or arrives late never overrules one. A full block silences transactional texts as well.
Source: CPCE art. L34-5, GDPR art. 7(3).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from worker.policy.verdicts import Basis, ConsentPlace, Reason, Refuse, Send, Verdict, suppress

ALL_PURPOSES = "*"


class Act(StrEnum):
    """What a person did; who is forgotten has withdrawn everything by that."""

    GRANTED = "granted"
    REVOKED = "revoked"
    BLOCKED = "blocked"
    ERASED = "erased"


@dataclass(frozen=True, slots=True)
class DatedAct:
    """
    The latest act of its kind.

    Attributes:
        purpose: Of the consent, or `*` for all.
        at: Seconds since 1970, by the event's own time.
        place: Of its record.
    """

    act: Act
    purpose: str
    at: float
    place: ConsentPlace | None = None


class SuppressedFor(StrEnum):
    """Why a number must not be texted; it outlives the person's erasure."""

    STOP = "stop"
    COMPLAINT = "complaint"
    DEAD_NUMBER = "dead_number"
    PROVIDER_BLACKLIST = "provider_blacklist"
    MANUAL = "manual"


class Scope(StrEnum):
    """What a suppression covers."""

    MARKETING = "marketing"
    EVERYTHING = "everything"


@dataclass(frozen=True, slots=True)
class Suppression:
    """
    A number that must not be texted, by somebody's decision.

    Attributes:
        at: Seconds since 1970, when it was said: a STOP is lifted by what the person agrees to later, and by nothing else.
    """

    scope: str
    reason: str
    at: float = 0.0


def check_consent(
    acts: Iterable[DatedAct], suppressions: Iterable[Suppression], purpose: str | None, *, is_customer: bool = False
) -> Verdict:
    """
    Return whether a person's acts allow a text.

    Args:
        acts: What the person did, in any order.
        suppressions: What others decided for that number.
        purpose: Of a marketing text; None for a transactional one.
        is_customer: It needs no opt-in, only that the person never objected.
    """
    acts = tuple(acts)
    if (refused := _check_suppressions(suppressions, acts, purpose)) is not None:
        return refused
    blocked = _latest(acts, Act.BLOCKED, None)
    if blocked is not None and blocked >= (_latest(acts, Act.GRANTED, None) or float("-inf")):
        return suppress(Reason.BLOCKED)
    if purpose is None:
        return Send()
    granted = _latest(acts, Act.GRANTED, purpose)
    withdrawn = max(
        (act.at for act in acts if act.act is not Act.GRANTED and act.purpose in (purpose, ALL_PURPOSES)),
        default=float("-inf"),
    )
    if granted is None:
        never_objected = is_customer and withdrawn == float("-inf")
        return Send(basis=Basis.EXISTING_CUSTOMER) if never_objected else suppress(Reason.NO_CONSENT)
    if granted <= withdrawn:
        return suppress(Reason.CONSENT_REVOKED)
    its = max((act for act in acts if act.act is Act.GRANTED and act.purpose == purpose), key=lambda act: act.at)
    return Send(its.place, Basis.CONSENT)


def _check_suppressions(
    suppressions: Iterable[Suppression], acts: Iterable[DatedAct], purpose: str | None
) -> Refuse | None:
    for suppression in suppressions:
        if suppression.reason == SuppressedFor.DEAD_NUMBER:
            return suppress(Reason.DEAD_NUMBER)
        if suppression.scope == Scope.EVERYTHING:
            return suppress(Reason.BLOCKED)
        if purpose is not None and not _lifted(suppression, acts, purpose):
            return suppress(Reason.SUPPRESSED)
    return None


def _lifted(suppression: Suppression, acts: Iterable[DatedAct], purpose: str) -> bool:
    """Return whether the person said yes after their STOP; a complaint and an operator's decision stand."""
    granted = _latest(acts, Act.GRANTED, purpose)
    return suppression.reason == SuppressedFor.STOP and granted is not None and granted > suppression.at


def _latest(acts: Iterable[DatedAct], kind: Act, purpose: str | None) -> float | None:
    return max((act.at for act in acts if act.act is kind and purpose in (None, act.purpose)), default=None)
