"""Contacts: who a contact id is. Read from a control topic and projected; nothing is texted."""

from typing import Annotated, ClassVar

from pydantic import Field

from schemas.contract import Reference
from schemas.events.base import EventData, Recipient

AttributeValue = (
    bool
    | int
    | float
    | Annotated[str, Field(max_length=200)]
    | Annotated[tuple[Annotated[str, Field(max_length=200)], ...], Field(max_length=100)]
)


class _Contact(EventData):
    contact_id: Reference

    def addressees(self) -> tuple[Recipient, ...]:
        """Return the contact."""
        return (Recipient(contact_id=self.contact_id),)


class ContactUpdated(_Contact):
    """
    The whole contact as it now is; it replaces an older one, by the event's time.

    Attributes:
        attributes: What segments are cut by: purchases (`orders_90d: 3`), place (`city: Lyon`), interests
            (`interests: [running]`).
    """

    event_type: ClassVar[str] = "contact.updated"

    phone: str = Field(min_length=3, max_length=32)
    first_name: str | None = Field(default=None, max_length=50)
    last_name: str | None = Field(default=None, max_length=50)
    locale: str | None = Field(default=None, max_length=35, pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*$")
    zone: str | None = Field(default=None, max_length=64)
    attributes: dict[str, AttributeValue] = Field(default_factory=dict, max_length=100)


class ContactErased(_Contact):
    """The person asked to be forgotten."""

    event_type: ClassVar[str] = "contact.erased"

    phone: str | None = Field(default=None, max_length=32, description="Forget this number's own data too.")
