"""Contacts: who a contact id is. Read from a control topic and projected; nothing is texted."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, ValidationInfo

from schemas.contract import Locale, Reference, Zone, leave_out
from schemas.events.base import EventData, Recipient

AttributeValue = (
    bool
    | int
    | float
    | Annotated[str, Field(max_length=200)]
    | Annotated[tuple[Annotated[str, Field(max_length=200)], ...], Field(max_length=100)]
)


MOST_ATTRIBUTES = 100
_ATTRIBUTE: TypeAdapter[Any] = TypeAdapter(AttributeValue)


def _usable_attributes(value: object, info: ValidationInfo) -> object:
    """Leave out what no condition can ask for; null says that the contact lacks it."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        return value
    usable: dict[Any, Any] = {}
    for name, its in value.items():
        if its is None:
            continue
        try:
            _ATTRIBUTE.validate_python(its)
        except ValidationError:
            leave_out(info)
            continue
        if len(usable) == MOST_ATTRIBUTES:
            leave_out(info)
            continue
        usable[name] = its
    return usable


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
    locale: Locale = None
    zone: Zone = None
    attributes: Annotated[dict[str, AttributeValue], BeforeValidator(_usable_attributes)] = Field(
        default_factory=dict, max_length=MOST_ATTRIBUTES
    )


class ContactErased(_Contact):
    """The person asked to be forgotten."""

    event_type: ClassVar[str] = "contact.erased"

    phone: str | None = Field(default=None, max_length=32, description="Forget this number's own data too.")
