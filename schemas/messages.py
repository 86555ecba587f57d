"""One SMS to one person, not yet sent: the records of the lanes."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from schemas.contract import Contract, Opaque, Time


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

    id: Annotated[str, Opaque]
    source: Annotated[str, Opaque]
    type: Annotated[str, Opaque]
    time: Time
    fingerprint: str


class Message(Contract):
    """
    A message on its lane.

    Attributes:
        id: UUIDv5 of deployment, event source and id, route and recipient; the same event gives it again.
        recipient: Keyed hash of the recipient's reference (contact id, else number); also the record's key.
        contact: True if that reference is a contact id.
        expires_at: The event's time, or `not_before`, plus the template's time to live; not sent later.
        not_before: By its route's `delay` or `at`; not sent earlier.
        unless: Keyed hashes of the events that make it pointless.
        about: Keyed hash of what people ask for it by: an order's number, an appointment's.
        unresolved: Why the router could not decide (`unknown_contact`); its route's condition is asked again.
        step: How often it has been deferred.
        waiting_for: Why it was deferred last, and `waiting_since` since when for this reason.
        replays: How often an operator put it back.
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
    not_before: Time | None = None
    unless: tuple[str, ...] = Field(default=(), max_length=20)
    about: str | None = None
    unresolved: str | None = None
    step: int = Field(default=0, ge=0)
    waiting_for: str | None = None
    waiting_since: Time | None = None
    replays: int = Field(default=0, ge=0)
    traceparent: str | None = None
    sealed: str
