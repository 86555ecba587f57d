"""
A record's bytes become a typed event, or a reason why not.

CloudEvents in binary mode (`ce_*` headers), in structured mode, or plain JSON with declared pointers.
Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

import base64
import binascii
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar

import orjson
from pydantic import ValidationError

from schemas.cloudevents import CloudEvent
from schemas.events import EVENTS
from schemas.events.consent import ConsentRevoked
from schemas.events.contact import ContactErased
from worker.errors import DeadLetterReason
from worker.policy.event_times import event_time
from worker.progress import trace_id_in
from worker.records import UNREADABLE_HEADER, Record
from worker.routing.events import BadEvent, Event
from worker.settings import JsonPointers, TopicSettings
from worker.telemetry import metrics

STRUCTURED = "application/cloudevents"
CONFLUENT_MAGIC = 0  # schema-registry wire format: byte 0, then the schema's id in four bytes
CONFLUENT_FRAME = 5
MILLISECONDS = 1e11  # in seconds the year 5138: a larger number counts milliseconds
ReadT = TypeVar("ReadT")
USED = ("specversion", "id", "source", "type")  # of an envelope; whatever else is odd in it kills no event


_JSON_TYPE = re.compile(r"[^/;]+/([^/;]+\+)?json\s*(;|$)", re.IGNORECASE)


def decode(record: Record, topic: TopicSettings, now: datetime) -> Event:
    """
    Return the event in *record*, read *now*.

    The type is looked at before the data: what another team publishes is an event, whatever its data is.

    Raises:
        BadEvent: With a reason code and the path of the field that is wrong, never its value.
    """
    headers = {name.lower(): value for name, value in record.headers}
    if UNREADABLE_HEADER in headers:
        raise BadEvent(DeadLetterReason.UNREADABLE, "the Kafka client cannot parse it; it is still at its origin")
    content_type = (headers.get("content-type") or b"").decode("latin-1").strip().lower()
    if content_type.startswith(STRUCTURED):
        return _structured(record, now)
    if "ce_specversion" in headers or "ce_type" in headers:
        return _binary(record, headers, now)
    if record.value is None:
        raise _no_value(_binary_envelope(headers))
    if record.value[:1] == bytes([CONFLUENT_MAGIC]) or "__value_schema_id" in headers:
        message = "framed by a Confluent schema registry, which is not read yet; publish JSON"
        raise BadEvent(DeadLetterReason.CONFLUENT_FRAMED, message)
    if topic.json_pointers is not None:
        return _pointed(record, topic.name, topic.json_pointers, now)
    message = "neither ce_* headers nor content-type application/cloudevents+json"
    raise BadEvent(DeadLetterReason.NOT_CLOUDEVENTS, message)


def _structured(record: Record, now: datetime) -> Event:
    value = record.value
    if value is None:
        raise _no_value({})
    if value[:1] == bytes([CONFLUENT_MAGIC]):
        raise _framed(_framed_envelope(value))
    body = _json(value, {})
    if not isinstance(body, dict):
        raise BadEvent(DeadLetterReason.BAD_ENVELOPE, "a CloudEvent is a JSON object; batches are not read from Kafka")
    return _event(record, body, lambda: _structured_data(body), now)


def _structured_data(body: Mapping[str, Any]) -> Any:
    """Return `data`, or `data_base64` decoded (CloudEvents, JSON format 1.0.2, 3.1.1), which must be JSON here."""
    if "data_base64" not in body:
        return body.get("data")
    told, kind = body["data_base64"], body.get("datacontenttype")
    if body.get("data") is not None:
        raise BadEvent(DeadLetterReason.BAD_ENVELOPE, "stands beside data", field="data_base64", envelope=body)
    if kind is not None and not (isinstance(kind, str) and _JSON_TYPE.match(kind)):
        raise BadEvent(DeadLetterReason.BAD_DATA, "data must be JSON", field="datacontenttype", envelope=body)
    value = _decoded(told)
    if value is None:
        raise BadEvent(DeadLetterReason.BAD_ENVELOPE, "is not base64", field="data_base64", envelope=body)
    return _json(value, body)


def _decoded(text: Any) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError):
        return None


def _binary(record: Record, headers: Mapping[str, bytes], now: datetime) -> Event:
    envelope = _binary_envelope(headers)
    for name in USED:
        if headers.get(f"ce_{name}") and name not in envelope:
            raise BadEvent(DeadLetterReason.BAD_ENVELOPE, "is not UTF-8", field=f"ce_{name}", envelope=envelope)
    return _event(record, envelope, lambda: _binary_data(record, envelope), now)


def _binary_data(record: Record, envelope: Mapping[str, Any]) -> Any:
    if record.value is None:
        raise _no_value(envelope)
    if record.value[:1] == bytes([CONFLUENT_MAGIC]):
        raise _framed(envelope)
    return _json(record.value, envelope)


def _binary_envelope(headers: Mapping[str, bytes | None]) -> dict[str, Any]:
    """Return the attributes that can be read: one of null is none, and one that is not UTF-8 is as good as none."""
    envelope = {}
    for name, value in headers.items():
        if name.startswith("ce_") and value is not None:
            with suppress(UnicodeDecodeError):
                envelope[name[3:]] = value.decode()
    return envelope


def _framed_envelope(value: bytes) -> Mapping[str, Any]:
    """Return the envelope behind a frame, where it is JSON, so that its emitter hears of it."""
    try:
        body = orjson.loads(value[CONFLUENT_FRAME:])
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _no_value(envelope: Mapping[str, Any]) -> BadEvent:
    return BadEvent(DeadLetterReason.NULL_VALUE, "the record has no value", envelope=envelope)


def _framed(envelope: Mapping[str, Any]) -> BadEvent:
    message = "data is framed by a Confluent schema registry, which is not read yet; publish JSON"
    return BadEvent(DeadLetterReason.CONFLUENT_FRAMED, message, envelope=envelope)


def _pointed(record: Record, topic: str, pointers: JsonPointers, now: datetime) -> Event:
    body = _json(record.value or b"", {})
    kind = _at(body, pointers.type)
    envelope = {
        "specversion": "1.0",
        "id": _text(_at(body, pointers.id)),
        "source": pointers.source or topic,
        "type": pointers.types.get(kind, kind) if isinstance(kind, str) else None,
        "time": _moment(_at(body, pointers.time)) if pointers.time else None,
    }
    for name, pointer in (("id", pointers.id), ("type", pointers.type)):
        if envelope[name] is None:
            raise BadEvent(
                DeadLetterReason.BAD_ENVELOPE, f"has no value at {pointer}", field=pointer, envelope=envelope
            )
    return _event(record, envelope, lambda: _at(body, pointers.data) if pointers.data else body, now)


def _text(value: Any) -> Any:
    """Return an id that is a number as text; JSON emitters use both."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _moment(value: Any) -> Any:
    """Return a number of seconds or milliseconds since 1970, which plain JSON often has, as the time it stands for."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    try:
        return datetime.fromtimestamp(value / 1000 if abs(value) >= MILLISECONDS else value, UTC)
    except (ValueError, OverflowError, OSError):
        return value


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
        return orjson.loads(value.removeprefix(BOM_UTF8))  # RFC 8259, 8.1: a parser may ignore one
    except orjson.JSONDecodeError as error:
        message = f"is not JSON: line {error.lineno}, column {error.colno}"
    raise BadEvent(DeadLetterReason.MALFORMED_JSON, message, envelope=envelope)


def _event(record: Record, envelope: Mapping[str, Any], data_of: Callable[[], Any], now: datetime) -> Event:
    used = {name: envelope[name] for name in USED if name in envelope}
    attributes = _checked(lambda: CloudEvent.model_validate(used))
    if isinstance(attributes, Mistake):
        raise BadEvent(DeadLetterReason.BAD_ENVELOPE, attributes.message, field=attributes.field, envelope=envelope)
    traceparent = envelope.get("traceparent")
    traceparent = traceparent if isinstance(traceparent, str) and trace_id_in(traceparent) else None
    model, own = EVENTS.get(attributes.type), envelope.get("time")
    takes_away = model is None or issubclass(model, ConsentRevoked | ContactErased)
    moment = _checked(lambda: event_time(own, record.time, now, takes_away=takes_away))
    if isinstance(moment, Mistake):
        raise BadEvent(DeadLetterReason.BAD_ENVELOPE, moment.message, field="time", envelope=envelope)
    time, doubt = moment
    if model is None:  # another team's, whatever its data is
        return Event(attributes.id, attributes.source, attributes.type, time, None, None, "", traceparent)
    data = data_of()
    left_out = list[str]()
    typed = _checked(lambda: model.model_validate(data, context=left_out))
    if isinstance(typed, Mistake):
        place = f"data.{typed.field}".rstrip(".")
        raise BadEvent(DeadLetterReason.BAD_DATA, typed.message, field=place, envelope=envelope)
    for name in left_out:
        metrics.child(metrics.LEFT_OUT, name).inc()
    fingerprint = _fingerprint(attributes.type, data)
    if fingerprint is None:
        raise BadEvent(DeadLetterReason.BAD_DATA, "is nested too deep", field="data", envelope=envelope)
    kind, stands = attributes.type, str(own or "")
    return Event(attributes.id, attributes.source, kind, time, typed, data, fingerprint, traceparent, doubt, stands)


def _fingerprint(event_type: str, data: Any) -> str | None:
    try:
        content = orjson.dumps([event_type, data], option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        return None
    return blake2b(content, digest_size=9).hexdigest()


class Mistake(NamedTuple):
    """The first of a value's mistakes."""

    field: str
    message: str


def _checked(read: Callable[[], ReadT]) -> ReadT | Mistake:
    """
    Return what *read* returns, or its first mistake.

    Whoever raises for it does so outside of any `except`: pydantic's errors hide what they hold from the garbage
    collector, and an error that is chained to one is kept for good, with its batch.
    """
    try:
        return read()
    except ValidationError as error:
        return Mistake(*first_error(error))


def first_error(error: ValidationError) -> tuple[str, str]:
    """Return the path of the first mistake and what would be right, without the value found."""
    detail = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return ".".join(map(str, detail["loc"])), detail["msg"]
