"""Things to test with; each names only what matters to the test."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from schemas.messages import Category, EventRef, Lane, Message
from worker.demo.configuring import zone_at
from worker.delivery.accounts import Account, Credentials
from worker.delivery.asks import Ask
from worker.delivery.fence import View
from worker.delivery.limits import Limits
from worker.policy.verdicts import Send
from worker.records import Record
from worker.routing.loading import Configuration, load_configuration
from worker.sealing import KeyRing, Pepper

ROOT = Path(__file__).parent.parent
SHIPPED = ROOT / "deploy" / "config"
PEPPER = Pepper(b"a pepper for tests")
RING = KeyRing({"test": bytes(range(32))}, "test")
NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
SOURCE = "/shop"
DATA: dict[str, dict[str, Any]] = {
    "order.confirmed": {"order_id": "1234", "total": {"amount": 49.9}},
    "order.shipped": {"order_id": "1234", "tracking_url": "https://suivi.example/AB12CD34"},
    "order.out_for_delivery": {"order_id": "1234", "window": "14:00-16:00"},
    "order.delivered": {"order_id": "1234", "place": "boîte aux lettres"},
    "order.cancelled": {"order_id": "1234", "refund": {"amount": 49.9}},
    "order.refunded": {"order_id": "1234", "refund": {"amount": 49.9}, "expected_on": "2026-11-30"},
    "payment.failed": {"order_id": "1234", "amount": {"amount": 49.9}, "retry_url": "https://payer.example/AB12"},
    "appointment.booked": {"appointment_id": "a1", "starts_at": "2026-12-01T09:30:00Z", "place": "12 rue de la Paix"},
    "appointment.reminder_due": {"appointment_id": "a1", "starts_at": "2026-12-01T09:30:00Z"},
    "appointment.rescheduled": {"appointment_id": "a1", "starts_at": "2026-12-01T09:30:00Z"},
    "appointment.cancelled": {"appointment_id": "a1", "starts_at": "2026-12-01T09:30:00Z"},
    "otp.requested": {"code": "482913"},
    "otp.verified": {},
    "account.alert": {"kind": "new_login", "device": "iPhone, Lyon"},
    "cart.abandoned": {
        "cart_id": "k1", "total": {"amount": 89.9}, "item_count": 2, "cart_url": "https://boutique.example/p/9K2F",
    },
    "promotion.announced": {
        "promotion_id": "p1", "title": "chaussures de running", "discount_percent": 20, "code": "RUN20",
        "ends_on": "2026-11-30", "url": "https://boutique.example/o/7Q1Z",
    },
    "event.invitation": {
        "invitation_id": "i1", "title": "soirée running", "starts_at": "2026-12-01T18:30:00Z", "place": "BOUTIQUE Lyon",
        "rsvp_url": "https://boutique.example/i/4T8B",
    },
    # Where it is noon when the tests run: marketing keeps to the hours of the recipient's own clock.
    "contact.updated": {
        "contact_id": "c-1", "phone": "+33612345678", "first_name": "François", "locale": "fr", "zone": zone_at(12),
    },
    "contact.erased": {"contact_id": "c-1"},
    "consent.granted": {"purposes": ["offers"], "channel": "web", "wording_version": "1"},
    "consent.revoked": {"channel": "web"},
}  # fmt: skip
MANY = {"promotion.announced", "event.invitation"}


def data(event_type: str, recipient: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """The payload of an event that is right, for the contact c-1 unless said."""
    who = {"contact_id": "c-1"} if recipient is None else recipient
    base = dict(DATA[event_type])
    if event_type in MANY:
        base["recipients"] = [who]
    elif not event_type.startswith("contact."):
        base["recipient"] = who
    return {**base, **changes}


def binary(
    event_type: str, payload: Any, event_id: str = "e-1", time: datetime | None = NOW, **attributes: str
) -> dict[str, Any]:
    """Value and headers of an event in binary mode."""
    named = {"specversion": "1.0", "id": event_id, "source": SOURCE, "type": event_type, **attributes}
    if time is not None:
        named["time"] = time.isoformat()
    headers = [(f"ce_{name}", text.encode()) for name, text in named.items()]
    value = payload if isinstance(payload, bytes | None) else json.dumps(payload).encode()
    return {"value": value, "headers": (*headers, ("content-type", b"application/json"))}


def structured(event_type: str, payload: Any, event_id: str = "e-1", **attributes: Any) -> dict[str, Any]:
    """Value and headers of an event in structured mode."""
    envelope = {"specversion": "1.0", "id": event_id, "source": SOURCE, "type": event_type, "time": NOW.isoformat()}
    body = json.dumps({**envelope, **attributes, "data": payload}).encode()
    return {"value": body, "headers": (("content-type", b"application/cloudevents+json; charset=UTF-8"),)}


def record(topic: str = "orders.events", value: bytes | None = b"{}", **changes: Any) -> Record:
    """A record as polled."""
    base: dict[str, Any] = {
        "partition": 0,
        "offset": 0,
        "timestamp_ms": int(NOW.timestamp() * 1000),
        "key": b"k",
        "headers": (),
    }
    return Record(topic=topic, value=value, **{**base, **changes})


def event_record(event_type: str, topic: str = "orders.events", **changes: Any) -> Record:
    """A record with an event that is right."""
    return record(topic, **{**binary(event_type, data(event_type)), **changes})


def message(**changes: Any) -> Message:
    """A message that may be sent."""
    event = EventRef(id="e-1", source=SOURCE, type="order.shipped", time=NOW, fingerprint="f1")
    base: dict[str, Any] = {
        "id": "11111111-1111-5111-8111-111111111111", "event": event, "route": "order-shipped", "template": "order_shipped",
        "category": Category.TRANSACTIONAL, "lane": Lane.TRANSACTIONAL, "recipient": "r-1", "contact": True,
        "expires_at": NOW + timedelta(hours=1), "sealed": "",
    }  # fmt: skip
    return Message(**{**base, **changes})


def account(**changes: Any) -> Account:
    """An account with room for everything."""
    base: dict[str, Any] = {
        "provider": "octopush", "credentials": Credentials(login_env="L", key_env="K"), "segments_per_second": 10,
        "max_in_flight": 100, "http_deadline_s": 5,
    }  # fmt: skip
    return Account(**{**base, **changes})


def ask(message_id: str = "m-1", **changes: Any) -> Ask:
    """What a transactional message of one segment asks."""
    base: dict[str, Any] = {
        "message_id": message_id, "fingerprint": "f1", "holder": f"me:{message_id}", "lane": Lane.TRANSACTIONAL, "person": "p-1",
        "purpose": None, "segments": 1, "verdict": Send(), "expires_at": 1e12, "queued_at": 0.0,
        "outcome": lambda kind, reason, verdict: f"{kind}:{reason}".encode(),
    }  # fmt: skip
    limits = {name: changes.pop(name) for name in Limits.__dataclass_fields__ if name in changes}
    return Ask(**{**base, "limits": Limits(**limits), **changes})


def view(**changes: Any) -> View:
    """What the fence reads when nothing speaks against sending."""
    base: dict[str, Any] = {
        "now": 1000.0, "tokens": 10.0, "refilled_at": 1000.0, "held_until": 0.0, "live_claims": 0, "entries": {}, "acts": {},
        "suppressions": {}, "projection_age_s": 0.0,
    }  # fmt: skip
    return View(**{**base, **changes})


def configuration() -> Configuration:
    """The shipped configuration."""
    return load_configuration(SHIPPED)
