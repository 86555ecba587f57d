"""
What came of it, for everybody else: outcomes as CloudEvents, and dead letters.

An outcome holds no number, name or text. Its payload is stored before it is published, and published as stored.
"""

import base64
import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import orjson

from schemas.messages import Message
from schemas.outcomes import OutcomeKind
from worker import __version__
from worker.errors import Failure, PermanentError
from worker.messages import outcome_id
from worker.records import Headers, Outgoing, Record
from worker.sealing import OVERHEAD_BYTES, DataKey, Pepper

CLOUDEVENT_HEADERS: Headers = (("content-type", b"application/cloudevents+json; charset=UTF-8"),)
HEAD_BYTES = 64 * 1024
MAX_LETTER_BYTES = 1024 * 1024 - 8 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What an outcome tells beside its message; each field as in `schemas.outcomes.OutcomeData`."""

    template_version: str | None = None
    policy_version: str | None = None
    check: str | None = None
    consent: Mapping[str, Any] | None = None
    basis: str | None = None
    country: str | None = None
    encoding: str | None = None
    segments: int | None = None
    provider: str | None = None
    account: str | None = None
    provider_ref: str | None = None
    cost: float | None = None
    currency: str | None = None
    submitted_at: datetime | None = None
    deferred_until: datetime | None = None
    step: int | None = None
    origin: Mapping[str, Any] | None = None


class Outcomes:
    """Makes the records of `sms.outcomes`."""

    def __init__(self, topic: str, deployment: str) -> None:
        self._topic = topic
        self._source = f"/sms-worker/{deployment}"

    def payload(self, message: Message, kind: OutcomeKind, reason: str | None, facts: Facts, at: datetime) -> bytes:
        """Return the outcome of *message* as it is stored and published."""
        event = message.event
        data: dict[str, Any] = {
            "outcome": kind,
            "reason": reason,
            "message_id": message.id,
            "event": {"id": event.id, "source": event.source, "type": event.type, "time": event.time},
            "route": message.route,
            "template": message.template,
            "campaign": message.campaign,
            "category": message.category,
            "lane": message.lane,
            "recipient": message.recipient,
            "about": message.about,
            "expires_at": message.expires_at,
        }
        data |= {name: value for name in Facts.__slots__ if (value := getattr(facts, name)) is not None}
        return self._envelope(
            outcome_id(message.id, kind, message.step), kind, message.id, data, at, message.traceparent
        )

    def for_event(self, event: Mapping[str, Any], kind: OutcomeKind, reason: str, at: datetime) -> Outgoing:
        """Return what came of an event that became no message; *event* has its id, source, type, and perhaps traceparent."""
        identity = f"{event['source']}\x1f{event['id']}"
        about = {name: value for name, value in event.items() if name != "traceparent"}
        data = {"outcome": kind, "reason": reason, "event": about}
        traceparent = event.get("traceparent")
        payload = self._envelope(outcome_id(identity, kind), kind, _subject(str(event["id"])), data, at, traceparent)
        return Outgoing(self._topic, str(event["id"]).encode(), payload, CLOUDEVENT_HEADERS)

    def record(self, message_id: str, payload: bytes) -> Outgoing:
        """Return the record that publishes a stored *payload*."""
        return Outgoing(self._topic, message_id.encode(), payload, CLOUDEVENT_HEADERS)

    def _envelope(
        self,
        identity: str,
        kind: OutcomeKind,
        subject: str,
        data: Mapping[str, Any],
        at: datetime,
        traceparent: str | None,
    ) -> bytes:
        envelope = {
            "specversion": "1.0",
            "id": identity,
            "source": self._source,
            "type": f"sms.{kind}",
            "time": at,
            "subject": subject,
            "datacontenttype": "application/json",
            **({"traceparent": traceparent} if traceparent else {}),
            "data": {name: value for name, value in data.items() if value is not None},
        }
        return orjson.dumps(envelope, option=orjson.OPT_UTC_Z)


def _subject(event_id: str) -> str:
    """Return an id as an attribute, its control characters percent-encoded (CloudEvents 1.0.2, type system)."""
    return "".join(quote(one) if unicodedata.category(one) in ("Cc", "Cn") else one for one in event_id)


def dead_letter(
    topic: str,
    stage: str,
    record: Record,
    error: PermanentError | Failure,
    key: DataKey,
    pepper: Pepper,
    about: Mapping[str, str | None],
    replays: int = 0,
) -> Outgoing:
    """
    Return the dead letter of *record*.

    Args:
        topic: The stage's dead-letter topic.
        stage: `router`, or a lane.
        record: As polled; `restore` gives it back to the byte.
        error: Why; its message names no value.
        key: Seals it: the person's, or the day's where nobody is known.
        pepper: For the letter's own key.
        about: What is known of the event and message, for headers.
        replays: How often an operator has put it back.
    """
    replays = record.replays or replays
    value, original = record.value, key.seal(orjson.dumps(_rest_of(record)))
    if len(original) > HEAD_BYTES:
        original = b""
    content, kept = ("null", b"") if value is None else ("whole", value)
    headers = _letter_headers(stage, record, error, key, about, original, replays)
    if (
        len(kept) + OVERHEAD_BYTES + sum(len(name) + len(text) for name, text in headers) > MAX_LETTER_BYTES
        or not original
    ):
        content, kept = "head", kept[:HEAD_BYTES]
    letter_key = None if record.key is None else pepper.name("key", record.key.hex()).encode()
    return Outgoing(topic, letter_key, key.seal(kept), (*headers, ("x-dlq-content", content.encode())))


def _letter_headers(
    stage: str,
    record: Record,
    error: PermanentError | Failure,
    key: DataKey,
    about: Mapping[str, str | None],
    original: bytes,
    replays: int,
) -> list[tuple[str, bytes]]:
    told = {
        "reason": error.code.value,
        "stage": stage,
        "error": str(error),
        "field": error.field,
        "origin-topic": record.topic,
        "origin-partition": str(record.partition),
        "origin-offset": str(record.offset),
        "origin-time": record.time.isoformat(),
        **{name.replace("_", "-"): text for name, text in about.items()},
        "sealed-for": key.subject,
        "sha256": hashlib.sha256(record.value or b"").hexdigest(),
        "attempts": str(1 + replays),
        "worker-version": __version__,
    }
    headers = [(f"x-dlq-{name}", text[:500].encode()) for name, text in told.items() if text is not None]
    return [*headers, ("x-dlq-original", original)]


def _rest_of(record: Record) -> dict[str, Any]:
    return {
        "key": _text(record.key),
        "headers": [[name, _text(value)] for name, value in record.headers],
        "timestamp_ms": record.timestamp_ms,
    }


def restore(letter: Record, key: DataKey) -> Record:
    """
    Return the original record of a dead letter, to the byte, opened with the key that its `x-dlq-sealed-for` names.

    Raises:
        Erased: The person was forgotten, or the day's key destroyed.
        ValueError: Only its head was kept; the original is at its origin.
    """
    headers = dict(letter.headers)
    content = headers["x-dlq-content"].decode()
    if content == "head":
        raise ValueError("only the head was kept; read the original at its origin")
    rest = orjson.loads(key.open(headers["x-dlq-original"]))
    return Record(
        topic=headers["x-dlq-origin-topic"].decode(),
        partition=int(headers["x-dlq-origin-partition"]),
        offset=int(headers["x-dlq-origin-offset"]),
        timestamp_ms=rest["timestamp_ms"],
        key=_bytes(rest["key"]),
        value=None if content == "null" else key.open(letter.value or b""),
        headers=tuple((name, _bytes(value)) for name, value in rest["headers"]),  # type: ignore[misc]
    )


def day_subject(now: datetime) -> str:
    """Return the subject of the key that seals what nobody can be named for; destroyed after 30 days."""
    return f"day:{now.astimezone(UTC).date().isoformat()}"


def _text(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
