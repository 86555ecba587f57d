"""What waits in the database, on its way in and on its way out."""

from dataclasses import dataclass

from schemas.messages import Lane
from worker.policy.verdicts import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferral:
    """
    A message that waits in the database.

    Attributes:
        step: Of the copy that will go on.
        due: Seconds since 1970, by the database's clock.
        message: The lane record's value, as it will be published.
    """

    message_id: str
    step: int
    lane: Lane
    due: float
    reason: Reason
    template: str
    recipient: str
    message: bytes


@dataclass(frozen=True, slots=True)
class Due:
    """A message whose time has come: what to publish, and what to delete afterwards."""

    message_id: str
    step: int
    lane: Lane
    reason: str
    recipient: str
    message: bytes
