"""
A record's bytes become a typed event, or a reason why not.

CloudEvents in binary mode (`ce_*` headers), in structured mode, or plain JSON with declared pointers.
Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

import orjson
from pydantic import ValidationError

from schemas.cloudevents import CloudEvent
from schemas.events import EVENTS, EventData
from worker.errors import DeadLetterReason, PermanentError
from worker.progress import trace_id_in
from worker.records import UNREADABLE_HEADER, Record
from worker.settings import JsonPointers, TopicSettings

STRUCTURED = "application/cloudevents"
CONFLUENT_MAGIC = 0  # schema-registry wire format: byte 0, then the schema's id in four bytes
MAX_ATTRIBUTE_CHARACTERS = 512  # of what is repeated of a bad envelope
MAX_FUTURE = timedelta(minutes=5)  # clocks of emitters differ by less; a later time is clamped to the record's


@dataclass(frozen=True, slots=True)
class Event:
    """
    A domain event, decoded.

    Attributes:
        time: When it happened: the event's own, else the record's.
        data: Its typed payload; None if its type is not one of ours.
        raw: The payload as JSON, for the message's sealed variables.
        fingerprint: Hash of type and payload, to notice an id used twice.
    """

    id: str
    source: str
    type: str
    time: datetime
    data: EventData | None
    raw: Any
    fingerprint: str
    traceparent: str | None = None


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


def decode(record: Record, topic: TopicSettings) -> Event:
    """
    Return the event in *record*.

    Raises:
        BadEvent: With a reason code and the path of the field that is wrong, never its value.
    """
    headers = {name.lower(): value for name, value in record.headers}
    if UNREADABLE_HEADER in headers:
        raise BadEvent(DeadLetterReason.UNREADABLE, "the Kafka client cannot parse it; it is still at its origin")
    if record.value is None:
        raise BadEvent(
            DeadLetterReason.NULL_VALUE,
            "the record has no value",
            envelope=_binary_envelope(headers, strict=False),
        )
    content_type = (headers.get("content-type") or b"").decode("latin-1").strip().lower()
    if content_type.startswith(STRUCTURED):
        return _structured(record)
    if "ce_specversion" in headers or "ce_type" in headers:
        return _binary(record, headers)
    if record.value[:1] == bytes([CONFLUENT_MAGIC]) or "__value_schema_id" in headers:
        message = "framed by a Confluent schema registry, which is not read yet; publish JSON"
        raise BadEvent(DeadLetterReason.CONFLUENT_FRAMED, message)
    if topic.json_pointers is not None:
        return _pointed(record, topic.name, topic.json_pointers)
    message = "neither ce_* headers nor content-type application/cloudevents+json"
    raise BadEvent(DeadLetterReason.NOT_CLOUDEVENTS, message)


def _structured(record: Record) -> Event:
    body = _json(record.value or b"", {})
    if not isinstance(body, dict):
        raise BadEvent(DeadLetterReason.BAD_ENVELOPE, "a CloudEvent is a JSON object; batches are not read from Kafka")
    if "data" not in body and "data_base64" in body:
        raise BadEvent(
            DeadLetterReason.BAD_ENVELOPE,
            "found data_base64; data must be JSON",
            field="data_base64",
            envelope=body,
        )
    return _event(record, body, body.get("data"))


def _binary(record: Record, headers: Mapping[str, bytes]) -> Event:
    envelope = _binary_envelope(headers, strict=True)
    value = record.value or b""
    if value[:1] == bytes([CONFLUENT_MAGIC]):
        message = "data is framed by a Confluent schema registry, which is not read yet; publish JSON"
        raise BadEvent(DeadLetterReason.CONFLUENT_FRAMED, message, envelope=envelope)
    return _event(record, envelope, _json(value, envelope))


def _binary_envelope(headers: Mapping[str, bytes], *, strict: bool) -> dict[str, Any]:
    envelope = {}
    for name, value in headers.items():
        if name.startswith("ce_"):
            try:
                envelope[name[3:]] = (value or b"").decode()
            except UnicodeDecodeError as error:
                if strict:
                    raise BadEvent(DeadLetterReason.BAD_ENVELOPE, "is not UTF-8", field=name) from error
    return envelope


def _pointed(record: Record, topic: str, pointers: JsonPointers) -> Event:
    body = _json(record.value or b"", {})
    kind = _at(body, pointers.type)
    envelope = {
        "specversion": "1.0",
        "id": _text(_at(body, pointers.id)),
        "source": pointers.source or topic,
        "type": pointers.types.get(kind, kind) if isinstance(kind, str) else None,
        "time": _at(body, pointers.time) if pointers.time else None,
    }
    for name, pointer in (("id", pointers.id), ("type", pointers.type)):
        if envelope[name] is None:
            raise BadEvent(
                DeadLetterReason.BAD_ENVELOPE, f"has no value at {pointer}", field=pointer, envelope=envelope
            )
    return _event(record, envelope, _at(body, pointers.data) if pointers.data else body)


def _text(value: Any) -> Any:
    """Return an id that is a number as text; JSON emitters use both."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _at(body: Any, pointer: str) -> Any:
    """Return the value at a JSON Pointer (RFC 6901), or None."""
    for token in pointer.split("/")[1:]:
        step = token.replace("~1", "/").replace("~0", "~")
        if isinstance(body, dict):
            body = body.get(step)
        elif isinstance(body, list) and step.isdecimal() and int(step) < len(body):
            body = body[int(step)]
        else:
            return None
    return body


def _json(value: bytes, envelope: Mapping[str, Any]) -> Any:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        message = f"is not JSON: line {error.lineno}, column {error.colno}"
        raise BadEvent(DeadLetterReason.MALFORMED_JSON, message, envelope=envelope) from error


def _event(record: Record, envelope: Mapping[str, Any], data: Any) -> Event:
    try:
        attributes = CloudEvent.model_validate({**envelope, "data": None})
    except ValidationError as error:
        place, message = first_error(error)
        raise BadEvent(DeadLetterReason.BAD_ENVELOPE, message, field=place, envelope=envelope) from error
    model = EVENTS.get(attributes.type)
    try:
        typed = model.model_validate(data) if model else None
    except ValidationError as error:
        place, message = first_error(error)
        raise BadEvent(
            DeadLetterReason.BAD_DATA, message, field=f"data.{place}".rstrip("."), envelope=envelope
        ) from error
    time = attributes.time or record.time
    if time > record.time + MAX_FUTURE:
        time = record.time
    digest = blake2b(orjson.dumps([attributes.type, data], option=orjson.OPT_SORT_KEYS), digest_size=9).hexdigest()
    return Event(attributes.id, attributes.source, attributes.type, time, typed, data, digest, attributes.traceparent)


def first_error(error: ValidationError) -> tuple[str, str]:
    """Return the path of the first mistake and what would be right, without the value found."""
    detail = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return ".".join(map(str, detail["loc"])), detail["msg"]
