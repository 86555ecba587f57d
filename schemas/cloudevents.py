"""
The CloudEvents 1.0 envelope in its JSON form.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
The `cloudevents` package is not used to decode: where `id` or `time` is missing it makes one up, and an id
made up anew at each delivery would text a person at each delivery.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from schemas.contract import NO_CONTROL_CHARACTERS, Contract, Opaque, Time

# CloudEvents 1.0, type system: a string holds no control characters.
Attribute = Annotated[str, Opaque, Field(min_length=1, max_length=512, pattern=NO_CONTROL_CHARACTERS)]


class CloudEvent(Contract):
    """
    A CloudEvent as other services publish it.

    Attributes:
        id: With *source*, names the event for ever: a second event with the same pair is the same event.
        time: When it happened; the Kafka record's time where it is missing.
        data: The payload, by *type*; see `schemas.events`.
        traceparent: W3C trace context, carried through to the outcome.
    """

    specversion: Literal["1.0"]
    id: Attribute
    source: Attribute
    type: Attribute
    time: Time | None = None
    subject: str | None = None
    datacontenttype: str | None = None
    traceparent: str | None = Field(default=None, max_length=64)
    data: Any = None
    data_base64: str | None = None


class OutcomeEnvelope(Contract):
    """The CloudEvents attributes of everything that the worker publishes."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str
    type: str
    time: datetime
    subject: str | None = None
    datacontenttype: Literal["application/json"] = "application/json"
    traceparent: str | None = None
