"""One SMS to one person, not yet sent: the records of the lanes."""

from enum import StrEnum

from pydantic import Field

from schemas.contract import Contract, Time


class Category(StrEnum):
    """Why we may text."""

    TRANSACTIONAL = "transactional"
    MARKETING = "marketing"


class Lane(StrEnum):
    """How long a message may wait, the most urgent first."""

    URGENT = "urgent"
    TRANSACTIONAL = "transactional"
    MARKETING = "marketing"


class EventRef(Contract):
    """
    The event that a message answers.

    Attributes:
        fingerprint: Hash of type and data; the same id with another fingerprint is an emitter's mistake.
    """

    id: str
    source: str
    type: str
    time: Time
    fingerprint: str


class Message(Contract):
    """
    A message on its lane.

    Attributes:
        id: UUIDv5 of deployment, event source and id, route and recipient; the same event gives it again.
        recipient: Keyed hash of the recipient's reference (contact id, else number); also the record's key.
        contact: True if that reference is a contact id.
        expires_at: The event's time plus the template's time to live; not sent later.
        unresolved: Why the router could not decide (`unknown_contact`); such a message is never sent.
        step: How often it has been deferred.
        sealed: The number, name and variables, encrypted with the person's key, base64.
    """

    id: str = Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
    event: EventRef
    route: str
    template: str
    category: Category
    lane: Lane
    campaign: str | None = None
    recipient: str = Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")
    contact: bool
    expires_at: Time
    unresolved: str | None = None
    step: int = Field(default=0, ge=0)
    traceparent: str | None = None
    sealed: str
