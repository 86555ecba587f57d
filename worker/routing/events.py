"""What a record was decoded into: a typed event, or why it is none."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from schemas.events import EventData
from worker.errors import DeadLetterReason, Failure, PermanentError
from worker.policy.event_times import TimeDoubt
from worker.progress import trace_id_in

MAX_ATTRIBUTE_CHARACTERS = 512  # of what is repeated of a bad envelope


@dataclass(frozen=True, slots=True)
class Event:
    """
    A domain event, decoded.

    Attributes:
        time: When it happened: the event's own, else the record's, else when it was read.
        data: Its typed payload; None if its type is not one of ours.
        raw: The payload as JSON, for the message's sealed variables.
        fingerprint: Hash of type and payload, to notice an id used twice.
        doubt: Why its own time, or its record's, is not taken as it stands.
        own_time: The time that it was published with, as it stands; empty if with none.
    """

    id: str
    source: str
    type: str
    time: datetime
    data: EventData | None
    raw: Any
    fingerprint: str
    traceparent: str | None = None
    doubt: TimeDoubt | None = None
    own_time: str = ""


@dataclass(frozen=True, slots=True)
class Unusable:
    """A record that is no usable event, and as much of its envelope as could be read."""

    failure: Failure
    envelope: Mapping[str, str]


class BadEvent(PermanentError):
    """A record that is no usable event; as much of its envelope as could be read goes with it."""

    def __init__(
        self,
        code: DeadLetterReason,
        message: str,
        *,
        field: str | None = None,
        envelope: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(code, message, field=field)
        known = {name: (envelope or {}).get(name) for name in ("id", "source", "type", "traceparent")}
        if trace_id_in(str(known["traceparent"])) is None:
            del known["traceparent"]
        self.envelope = {
            name: value[:MAX_ATTRIBUTE_CHARACTERS] for name, value in known.items() if isinstance(value, str) and value
        }
