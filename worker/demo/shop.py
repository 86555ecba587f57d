"""A shop's day: its customers, and what happens to them. The same day for the same seed."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from worker.demo.configuring import zone_at

FRENCH = [
    "Alice",
    "Zoé",
    "François",
    "Élodie",
    "Benoît",
    "Chloé",
    "Jérôme",
    "Noël",
    "Anaïs",
    "Gaëlle",
    "Hugo",
    "Inès",
    "Léa",
    "Maël",
    "Océane",
    "Rémi",
    "Sacha",
    "Théo",
]
ENGLISH = ["Emma", "Oliver", "Grace", "Harry", "Mia", "Jack", "Ruby", "George", "Ella", "Leo"]
CITIES = ["Lyon", "Paris", "Lille", "Nantes"]
INTERESTS = ["running", "vélo", "yoga", "escalade"]
PURPOSES = ["offers", "invitations", "cart_reminders"]
# What +33 6 00 00 xxxx asks the sandbox for: 9006 loses its answer, 0181 refuses the number.
AWKWARD_PHONES = ["+33600009006", "+33600000181", "+33142278186", "+14155552671", "+33612", "+262692123456"]
CUSTOMERS = 130
SOURCE = "/demo/shop"
CHANGE_THEIR_MIND = 12


@dataclass(frozen=True)
class Published:
    """A record as the shop publishes it, and what the demo says it is."""

    topic: str
    key: str
    value: bytes | None
    headers: list[tuple[str, bytes]]
    what: str


@dataclass
class Customer:
    """Somebody who buys, and what they agreed to."""

    id: str
    phone: str
    first_name: str
    locale: str
    attributes: dict[str, Any]
    purposes: list[str] = field(default_factory=list)
    sleeps: bool = False


class Shop:
    """Makes the day's events; each call of `publish` gives the next ones in order."""

    def __init__(self, seed: int = 7) -> None:
        self._random = random.Random(seed)  # noqa: S311  a play, not a secret
        self._count = 0
        self._now = datetime.now(UTC)
        self.customers = [self._customer(number) for number in range(CUSTOMERS)]

    def _customer(self, number: int) -> Customer:
        draw = self._random
        english = number % 4 == 3
        phone = AWKWARD_PHONES[number] if number < len(AWKWARD_PHONES) else f"+336{71000000 + number * 1237:08}"
        attributes = {
            "city": draw.choice(CITIES),
            "interests": draw.sample(INTERESTS, 2),
            "orders_90d": draw.choice([0, 0, 1, 1, 2, 3, 5]),
        }
        purposes = [purpose for purpose in PURPOSES if draw.random() < 0.75]
        name = draw.choice(ENGLISH if english else FRENCH)
        locale, sleeps = "en-GB" if english else "fr", 40 <= number < 46
        return Customer(f"c-{number}", phone, name, locale, attributes, purposes, sleeps)

    def morning(self) -> Iterator[Published]:
        """Who the customers are, and what they agreed to."""
        for customer in self.customers:
            card = {"contact_id": customer.id, "phone": customer.phone, "first_name": customer.first_name}
            card["zone"] = zone_at(2 if customer.sleeps else 12)  # for them offers wait until the morning
            yield self._event(
                "contact.updated", customer.id, {**card, "locale": customer.locale, "attributes": customer.attributes}
            )
            if customer.purposes:
                grant = {"purposes": customer.purposes, "channel": "web", "wording_version": "2026-03"}
                yield self._event("consent.granted", customer.id, {"recipient": {"contact_id": customer.id}, **grant})

    def campaign(self) -> Iterator[Published]:
        """Offers and invitations to everybody: more than the marketing account's rate lets through at once."""
        everybody = [{"contact_id": customer.id} for customer in self.customers]
        ends_on = (self._now + timedelta(days=7)).date().isoformat()
        offers: list[dict[str, Any]] = [
            {"title": "chaussures de running", "code": "RUN20", "interest": "running", "discount_percent": 20},
            {"title": "vélos de ville", "code": "VELO15", "city": "Lyon", "discount_percent": 15},
        ]
        for offer in offers:
            link = f"https://boutique.example/o/{offer['code']}"
            for start in range(0, len(everybody), 65):
                data = {"promotion_id": offer["code"], "ends_on": ends_on, "url": link, "campaign": "autumn", **offer}
                yield self._event("promotion.announced", "all", {**data, "recipients": everybody[start : start + 65]})
        evening = {"title": "soirée running", "starts_at": self._in_days(9), "place": "BOUTIQUE Lyon"}
        invitation = {"invitation_id": "i-1", "rsvp_url": "https://boutique.example/i/4T8B"}
        yield self._event("event.invitation", "all", {**evening, **invitation, "recipients": everybody[:40]})

    def day(self, orders: int = 60) -> Iterator[Published]:
        """Orders from cart to door, codes, alerts, appointments; now and then a record that is broken."""
        for number in range(orders):
            customer = self._random.choice(self.customers)
            yield from self._order(customer, str(4000 + number))
            if number % 2 == 0:
                yield from self._login(self._random.choice(self.customers))
            if number % 4 == 0:
                yield from self._appointment(self._random.choice(self.customers), str(number))
            if number % 12 == 5:
                yield self._broken(number // 12)
        yield from self._odd(self.customers[60])

    def changes_of_mind(self, people: int = CHANGE_THEIR_MIND) -> Iterator[Published]:
        """Some of those who still wait for an offer withdraw; one wants no text at all any more."""
        for place, customer in enumerate(self._willing(people)):
            data = {"recipient": {"contact_id": customer.id}, "channel": "app", "block": place == 0}
            yield self._event("consent.revoked", customer.id, data)
        forgotten = self.customers[20]
        yield self._event("contact.erased", forgotten.id, {"contact_id": forgotten.id, "phone": forgotten.phone})

    def unwanted(self) -> Iterator[Published]:
        """An order of the one who wants no text at all any more: not even that one is sent."""
        blocking, *_ = self._willing(CHANGE_THEIR_MIND)
        shipped = {"order_id": "4998", "tracking_url": "https://suivi.example/4998"}
        yield self._event("order.shipped", blocking.id, {"recipient": {"contact_id": blocking.id}, **shipped})

    def _willing(self, people: int) -> list[Customer]:
        return [customer for customer in self.customers if "offers" in customer.purposes][-people:]

    def _order(self, customer: Customer, order: str) -> Iterator[Published]:
        draw, who = self._random, {"recipient": {"contact_id": customer.id}}
        total = {"amount": round(draw.uniform(12, 240), 2), "currency": "EUR"}
        if draw.random() < 0.3:
            cart = {"cart_id": f"k{order}", "total": total, "item_count": draw.randint(1, 4)}
            yield self._event(
                "cart.abandoned", customer.id, {**who, **cart, "cart_url": f"https://boutique.example/p/{order}"}
            )
            if draw.random() < 0.3:  # bought after all: the reminder is pointless
                bought = {"order_id": order, "total": total, "cart_id": cart["cart_id"]}
                yield self._event("order.confirmed", customer.id, {**who, **bought})
            return
        if draw.random() < 0.15:
            failed = {"order_id": order, "amount": total, "retry_url": f"https://payer.example/{order}"}
            yield self._billing(customer.id, {**who, **failed})
        yield self._event("order.confirmed", customer.id, {**who, "order_id": order, "total": total})
        if draw.random() < 0.1:
            yield self._event("order.cancelled", customer.id, {**who, "order_id": order, "refund": total})
            return
        link = f"https://suivi.example/{order}"
        gift = {"gift_recipient": {"phone": "06 78 90 12 34"}} if draw.random() < 0.1 else {}
        shipped = self._event("order.shipped", customer.id, {**who, **gift, "order_id": order, "tracking_url": link})
        yield shipped
        if draw.random() < 0.2:
            yield shipped  # published twice by an emitter that was restarted: one text all the same
        yield self._event("order.out_for_delivery", customer.id, {**who, "order_id": order, "window": "14:00-16:00"})
        yield self._event("order.delivered", customer.id, {**who, "order_id": order, "place": "boîte aux lettres"})
        if draw.random() < 0.1:
            yield self._event("order.refunded", customer.id, {**who, "order_id": order, "refund": total})

    def _login(self, customer: Customer) -> Iterator[Published]:
        who = {"recipient": {"phone": customer.phone, "locale": customer.locale}}
        code = {"code": f"{self._random.randrange(10**6):06}", "request_id": f"r{self._count}"}
        yield self._event("otp.requested", customer.id, {**who, **code})
        yield self._event("otp.verified", customer.id, {**who, "request_id": code["request_id"]})
        if self._random.random() < 0.3:
            alert = {"kind": "new_login", "device": "iPhone, Lyon", "recipient": {"contact_id": customer.id}}
            yield self._event("account.alert", customer.id, alert)

    def _appointment(self, customer: Customer, number: str) -> Iterator[Published]:
        base = {"recipient": {"contact_id": customer.id}, "appointment_id": number, "place": "12 rue de la Paix"}
        yield self._event("appointment.booked", customer.id, {**base, "starts_at": self._in_days(3)})
        change = self._random.choice(["appointment.rescheduled", "appointment.cancelled", "appointment.reminder_due"])
        yield self._event(change, customer.id, {**base, "starts_at": self._in_days(4)})

    def _odd(self, customer: Customer) -> Iterator[Published]:
        """A code that comes ten minutes late, and an offer that somebody wrote into a delivery note."""
        who = {"phone": customer.phone, "locale": customer.locale}
        late = datetime.now(UTC) - timedelta(minutes=10)
        yield self._event("otp.requested", customer.id, {"recipient": who, "code": "000000"}, late)
        note = {"order_id": "3999", "place": "-20 % AVEC LE CODE NOEL"}
        yield self._event("order.delivered", customer.id, {"recipient": {"contact_id": customer.id}, **note})

    def _broken(self, kind: int) -> Published:
        """Return a record as a careless emitter writes it."""
        good = self._event("order.shipped", "c-50", {"order_id": "1", "recipient": {"contact_id": "c-50"}})
        unknown = self._event("order.shiped", "c-50", {"order_id": "1"})
        broken: list[tuple[bytes | None, list[tuple[str, bytes]], str]] = [
            (b'{"order_id": "1", "recip', good.headers, "cut short"),
            (good.value, good.headers, "without its tracking_url"),
            (None, good.headers, "without a value"),
            (b"\x00\x00\x00\x00\x07" + (good.value or b""), good.headers, "in the Confluent wire format"),
            (unknown.value, unknown.headers, "of a type that nobody knows"),
        ]
        value, headers, what = broken[kind % len(broken)]
        return Published("orders.events", "c-50", value, headers, f"order.shipped {what}")

    def _event(self, event_type: str, key: str, data: dict[str, Any], at: datetime | None = None) -> Published:
        """Return an event in binary mode, or in structured mode for every third."""
        self._count += 1
        attributes = {
            "specversion": "1.0",
            "id": f"e-{self._count}",
            "source": SOURCE,
            "type": event_type,
            "time": (at or datetime.now(UTC)).isoformat(),
        }
        if self._count % 3 == 0:
            value = json.dumps({**attributes, "datacontenttype": "application/json", "data": data}).encode()
            return Published(TOPICS[event_type.split(".", maxsplit=1)[0]], key, value, [STRUCTURED], event_type)
        headers = [(f"ce_{name}", text.encode()) for name, text in attributes.items()]
        headers.append(("content-type", b"application/json"))
        return Published(
            TOPICS[event_type.split(".", maxsplit=1)[0]], key, json.dumps(data).encode(), headers, event_type
        )

    def _billing(self, key: str, data: dict[str, Any]) -> Published:
        """Return an event of a team that publishes plain JSON."""
        self._count += 1
        meta = {"id": self._count, "kind": "PAYMENT_FAILED", "at": datetime.now(UTC).isoformat()}
        return Published(
            "billing.json", key, json.dumps({"meta": meta, "payload": data}).encode(), [], "payment.failed"
        )

    def _in_days(self, days: int) -> str:
        return (self._now + timedelta(days=days)).replace(hour=9, minute=30, second=0, microsecond=0).isoformat()


STRUCTURED = ("content-type", b"application/cloudevents+json; charset=UTF-8")
TOPICS = {
    "contact": "customers.events", "consent": "customers.events", "order": "orders.events", "otp": "identity.events",
    "account": "identity.events", "appointment": "appointments.events", "cart": "marketing.events",
    "promotion": "marketing.events", "event": "marketing.events",
}  # fmt: skip
