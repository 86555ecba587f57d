"""Late is never: a code of an hour ago, or an offer that has ended, helps nobody."""

from datetime import datetime

from schemas.outcomes import OutcomeKind
from worker.policy.verdicts import Reason, Refuse, Send, Verdict


def check_expiry(expires_at: datetime, now: datetime) -> Verdict:
    """Return whether a message that expires at *expires_at* may still go at *now*."""
    return Send() if now < expires_at else Refuse(OutcomeKind.EXPIRED, Reason.EXPIRED)
