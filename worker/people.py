"""Who somebody is, as far as it is known: what the state store answers, and what changes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from schemas.events import ControlData
from worker.delivery.ledger import Entry
from worker.records import Record
from worker.sealing import DataKey


@dataclass(frozen=True, slots=True)
class Contact:
    """
    Who a contact id is.

    Attributes:
        person: Keyed hash of the number.
        attributes: What segments are cut by.
    """

    phone: str
    person: str
    country: str | None
    first_name: str | None = None
    last_name: str | None = None
    locale: str | None = None
    zone: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def scope(self) -> dict[str, Any]:
        """Return what conditions and templates may read; the number is not among it."""
        return {
            "first_name": self.first_name,
            "last_name": self.last_name,
            "country": self.country,
            "locale": self.locale,
            "zone": self.zone,
            "attributes": self.attributes,
        }


@dataclass(frozen=True, slots=True)
class Known:
    """
    What is known under one reference.

    Attributes:
        key: Seals and opens; None if there is none, or no more.
        contact: None if the reference is a number, or a contact not heard of.
    """

    key: DataKey | None = None
    contact: Contact | None = None


NOBODY = Known()


class Found(NamedTuple):
    """Its row, if there is one, and who its recipient is."""

    entry: Entry | None
    known: Known


@dataclass(frozen=True, slots=True)
class Change:
    """
    A control event to be projected.

    Attributes:
        at: The event's own time, seconds since 1970.
        source: Of the event; with its id and content it names the act, wherever its record stands.
        content: What tells it from another event that was given the same id: its data, and its time as it was published.
        record: Where it came from; kept sealed as proof.
    """

    data: ControlData
    at: float
    event_id: str
    record: Record
    source: str
    content: str
