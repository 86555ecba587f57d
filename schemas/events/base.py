"""What every domain event shares: whom it concerns, and the campaign it belongs to."""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from schemas.contract import Contract, Locale, Reference, Zone


class Recipient(Contract):
    """
    Whom a text would go to: a known contact, or a number, or a contact under another number.

    Attributes:
        contact_id: The contact of an earlier `contact.updated`; its number, name and language are looked up.
        phone: A number, best in E.164 (+33612345678); it wins over the contact's.
        locale: BCP 47 (fr, en-GB); wins over the contact's.
        zone: IANA time zone (Europe/Paris); wins over the contact's.
    """

    contact_id: Reference | None = None
    phone: str | None = Field(default=None, min_length=3, max_length=32)
    locale: Locale = None
    zone: Zone = None

    @model_validator(mode="after")
    def _names_somebody(self) -> Self:
        if self.contact_id is None and self.phone is None:
            raise ValueError("needs contact_id or phone")
        return self


class EventData(Contract):
    """
    The `data` of a domain event.

    A subclass names its CloudEvents type in `event_type`; nothing else registers it but its line in
    `schemas.events.EVENTS`.
    """

    event_type: ClassVar[str]
    reference: ClassVar[str | None] = None  # the field by which people ask for it: the order's number

    campaign: str | None = Field(default=None, max_length=64, pattern=r"^[\w.:-]+$")

    def addressees(self) -> tuple[Recipient, ...]:
        """Return everybody whom this event concerns, at most 100."""
        raise NotImplementedError


class ForOne(EventData):
    """An event that concerns one person."""

    recipient: Recipient

    def addressees(self) -> tuple[Recipient, ...]:
        """Return the one recipient."""
        return (self.recipient,)


class ForMany(EventData):
    """An event that concerns up to 100 people; larger audiences are published as several events."""

    recipients: tuple[Recipient, ...] = Field(min_length=1, max_length=100)

    def addressees(self) -> tuple[Recipient, ...]:
        """Return every recipient in the order given."""
        return self.recipients
