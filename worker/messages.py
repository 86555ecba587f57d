"""How an event becomes a message: whom it is for, its id, and what travels sealed in it."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import orjson
from pydantic import BaseModel, ValidationError

from schemas.events import EventData, Recipient
from schemas.messages import Category, EventRef, Lane, Message
from worker.content.templates import Template
from worker.delivery.superseding import LATER
from worker.errors import DeadLetterReason, PermanentError
from worker.people import Contact
from worker.policy.hours import zone_for
from worker.policy.number import Number, parse_number
from worker.records import Outgoing, Record
from worker.routing.conditions import recipients_in
from worker.routing.decoding import first_error
from worker.routing.events import Event
from worker.routing.table import Route
from worker.routing.timing import names_of
from worker.sealing import DataKey, Pepper

ModelT = TypeVar("ModelT", bound=BaseModel)
# Fixed for ever: every message id is a UUIDv5 (RFC 9562) under it.
NAMESPACE = UUID("6f1d5c0e-52d5-4a0b-9a55-2f0c8b8a7a11")
MESSAGE_HEADERS = (("content-type", b"application/json"),)


@dataclass(frozen=True, slots=True)
class Addressee:
    """
    A recipient, named without giving a number away.

    Attributes:
        subject: Keyed hash of the reference: the contact id, else the number. Also the lane's key.
    """

    recipient: Recipient
    subject: str

    @property
    def is_contact(self) -> bool:
        """Whether the reference is a contact id."""
        return self.recipient.contact_id is not None


def address(recipient: Recipient, pepper: Pepper) -> Addressee:
    """Return *recipient* with its keyed hash; a number is hashed in E.164, however it was written."""
    if recipient.contact_id is not None:
        return Addressee(recipient, pepper.name("contact", recipient.contact_id))
    return Addressee(recipient, person_of(recipient.phone or "", pepper))


def person_of(phone: str, pepper: Pepper) -> str:
    """Return the keyed hash of a number."""
    number = parse_number(phone)
    return pepper.name("phone", number.e164 if isinstance(number, Number) else phone)


def message_id(deployment: str, event: Event, route_id: str, subject: str) -> str:
    """Return the id that this event, route and recipient give again at each delivery and replay."""
    return name_id(f"{deployment}\x1f{event.source}\x1f{event.id}\x1f{route_id}\x1f{subject}")


def outcome_id(subject: str, outcome: str, step: int = 0) -> str:
    """Return the id of an outcome of *subject*, which is a message id or an event's."""
    return name_id(f"{subject}\x1f{outcome}\x1f{step}")


def name_id(name: str) -> str:
    """Return `uuid5(NAMESPACE, name)` as text (RFC 9562, 5.5), without the objects that make up most of its cost."""
    digits = hashlib.sha1(NAMESPACE.bytes + name.encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def sealed_data(event: Event) -> dict[str, Any]:
    """Return the event's payload without its recipients: a message must not carry the other ninety-nine."""
    if event.data is None:
        return {}
    return event.data.model_dump(mode="json", exclude=set(recipients_in(type(event.data))))


def about_of(data: EventData | None, pepper: Pepper) -> str | None:
    """Return the keyed hash of what people ask for an event by; None if it has no such number."""
    value = getattr(data, data.reference, None) if data is not None and data.reference else None
    return about(str(value), pepper) if value is not None else None


def about(reference: str, pepper: Pepper) -> str:
    """Return the keyed hash of an order's, appointment's or cart's number."""
    return pepper.name("about", reference.strip())


def may_be_new(message: Message, template: Template | None) -> bool:
    """Return whether an expired *message* may be sent as a new one: never a code, by then or by now, and never marketing."""
    if template is None or Category.MARKETING in (template.category, message.category):
        return False
    return Lane.URGENT not in (template.lane, message.lane)


def anew(message: Message, template: Template, now: datetime) -> Message:
    """
    Return an expired *message* as a new one; its time to live begins now.

    The new id follows from the old one alone: however often, and by however many, it is asked for, it is one message.
    """
    return message.model_copy(
        update={
            "id": name_id(f"{message.id}\x1fanew"),
            "expires_at": now + template.time_to_live,
            "not_before": None,
            "step": 0,
            "waiting_for": None,
            "waiting_since": None,
        }
    )


def make_message(
    deployment: str,
    event: Event,
    route: Route,
    addressee: Addressee,
    key: DataKey,
    data: Mapping[str, Any],
    pepper: Pepper,
    *,
    unresolved: str | None,
    contact: Contact | None = None,
    replays: int = 0,
    about: str | None = None,
) -> Message:
    """
    Return the message for one recipient of one route.

    *data* is what `sealed_data` gave, *about* what `about_of` did, *contact* is who is known.

    Raises:
        PermanentError: The event has no usable time where the route looks for one.
    """
    recipient, typed = addressee.recipient, event.data
    phone, zone = (contact.phone, contact.zone) if contact else (None, None)
    lives_in = zone_for(recipient.phone or phone, recipient.zone, zone)
    not_before = route.not_before(event.time, typed, lives_in) if typed else None
    body = orjson.dumps(
        {"phone": recipient.phone, "locale": recipient.locale, "zone": recipient.zone, "data": data},
    )
    return _trusted(
        Message,
        id=message_id(deployment, event, route.row.id, addressee.subject),
        event=_trusted(
            EventRef, id=event.id, source=event.source, type=event.type, time=event.time, fingerprint=event.fingerprint
        ),
        route=route.row.id,
        template=route.row.template,
        category=route.template.category,
        lane=route.template.lane,
        campaign=route.row.campaign or (typed.campaign if typed else None),
        recipient=addressee.subject,
        contact=addressee.is_contact,
        expires_at=max(not_before or event.time, event.time) + route.template.time_to_live,
        not_before=not_before,
        unless=_superseding(route, event.type, typed, pepper) if typed else (),
        about=about,
        unresolved=unresolved,
        step=0,
        waiting_for=None,
        waiting_since=None,
        replays=replays,
        traceparent=event.traceparent,
        sealed=base64.b64encode(key.seal(body)).decode(),
    )


def _superseding(route: Route, event_type: str, data: EventData, pepper: Pepper) -> tuple[str, ...]:
    others = [one for one in route.row.unless if one.type != event_type]
    same = [one for one in route.row.unless if one.type == event_type]
    return names_of(others, data, pepper) + tuple(f"{LATER}{name}" for name in names_of(same, data, pepper))


def _trusted(model: type[ModelT], **values: Any) -> ModelT:
    """Return a *model* of values that are right, all of them: `model_construct` without its look at every field."""
    made = model.__new__(model)
    for name, value in (
        ("__dict__", values),
        ("__pydantic_fields_set__", set(values)),
        ("__pydantic_extra__", None),
        ("__pydantic_private__", None),
    ):
        object.__setattr__(made, name, value)
    return made


def lane_record(topic: str, message: Message) -> Outgoing:
    """Return the record that carries *message* on its lane."""
    return Outgoing(topic, message.recipient.encode(), written(message), MESSAGE_HEADERS)


def written(message: Message) -> bytes:
    """Return *message* as a record's value."""
    return orjson.dumps({**message.__dict__, "event": message.event.__dict__})


def deferred(message: Message, reason: str, now: datetime) -> Message:
    """Return the copy of *message* that will go on once it has waited for *reason*."""
    since = message.waiting_since if message.waiting_for == reason else now
    return message.model_copy(update={"step": message.step + 1, "waiting_for": reason, "waiting_since": since})


def read_message(record: Record) -> Message:
    """
    Return the message in a lane's record.

    Raises:
        PermanentError: It is none; somebody else writes to our lane.
    """
    if record.value is None:
        raise PermanentError(DeadLetterReason.NULL_VALUE, "the record has no value")
    try:
        return Message.model_validate_json(record.value)
    except ValidationError as error:
        place, message = first_error(error)
        raise PermanentError(DeadLetterReason.BAD_MESSAGE, message, field=place) from error


def message_in(record: Record) -> Message | None:
    """Return the message in a lane's record, or None if it is none."""
    try:
        return read_message(record)
    except PermanentError:
        return None


@dataclass(frozen=True, slots=True)
class Body:
    """What a message carries sealed."""

    phone: str | None
    locale: str | None
    zone: str | None
    data: Mapping[str, Any]


def open_body(message: Message, key: DataKey) -> Body:
    """
    Return the message's sealed part.

    Raises:
        Erased: The key is not the one that sealed it.
        PermanentError: It does not read.
    """
    try:
        return Body(**orjson.loads(key.open(base64.b64decode(message.sealed))))
    except (ValueError, TypeError) as error:
        raise PermanentError(DeadLetterReason.BAD_MESSAGE, "does not read", field="sealed") from error
