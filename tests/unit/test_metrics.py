"""However many different events come in, there are only as many series as the configuration has names."""

import random

import pytest
from prometheus_client import REGISTRY

from schemas.outcomes import OutcomeKind
from tests import builders
from tests.builders import PEPPER, RING, binary, configuration, data, record
from tests.fakes import ManualClock, MemoryWriter
from worker.errors import DeadLetterReason
from worker.people import Contact, Known
from worker.policy.verdicts import Reason
from worker.results import Outcomes
from worker.router import Router
from worker.routing.deciding import Deciding
from worker.settings import Intake, TopicSettings
from worker.telemetry.catalogue import ENTRIES
from worker.topics import Topics

EVENTS, BATCH = 100_000, 2_000
CONFIGURATION = configuration()
TYPES = [
    "order.shipped",
    "order.confirmed",
    "cart.abandoned",
    "otp.requested",
    "promotion.announced",
    "consent.granted",
]


class Everybody:
    """Knows everybody, under one key."""

    key = RING.new_key("x")[0]
    contact = Contact(phone="+33612345678", person="p", country="FR", attributes={"orders_90d": 2})

    async def load(self, subjects, *, create_keys):
        return {subject: Known(self.key, self.contact) for subject in subjects}

    async def project(self, changes) -> None: ...
    async def remember(self, seen) -> None: ...
    async def verified(self, subjects) -> None: ...


class Forgetful(MemoryWriter):
    async def enqueue(self, records):
        done = await super().enqueue(records)
        self.records.clear()
        return done


def some_event(number: int, chance: random.Random):
    """A different one each time: ids, people, campaigns, types that nobody knows, and broken ones."""
    kind = chance.choice([*TYPES, f"team{number}.thing{number}"])
    what = data(kind, {"contact_id": f"c-{number}"}) if kind in TYPES else {"order": number}
    if kind == "promotion.announced":
        what["campaign"] = f"campaign-{number}"
    its = binary(kind, what, f"e-{number}", source=f"/shop/{number}")
    if chance.random() < 0.1:
        its["value"] = its["value"][: chance.randrange(len(its["value"]))]
    return record(offset=number, key=str(number).encode(), **its)


def series() -> dict:
    """The counters that events make, by name and labels."""
    names = ("sms_records_total", "sms_messages_routed_total", "sms_dead_letters_total", "sms_outcomes_total")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for metric in REGISTRY.collect() for sample in metric.samples if sample.name in names
    }  # fmt: skip


@pytest.mark.timeout(280)
async def test_a_hundred_thousand_different_events_make_no_more_series_than_the_configuration_has_names() -> None:
    people, clock, topics = Everybody(), ManualClock(), Topics("sms")
    inputs = {"orders.events": TopicSettings(name="orders.events", start="earliest", events=tuple(builders.DATA))}
    deciding = Deciding(Intake.NORMAL, "shop", inputs, CONFIGURATION.table, PEPPER)
    router = Router(
        "normal", deciding, people, people, people, Forgetful(), topics, Outcomes("sms.outcomes", "shop"), PEPPER, clock,
        lambda _: None,
    )  # fmt: skip
    chance = random.Random(1)

    before = series()  # of other tests of this process
    for start in range(0, EVENTS, BATCH):
        await (await router.handle([some_event(n, chance) for n in range(start, start + BATCH)]))

    allowed = {
        "intake": set(Intake), "became": {"routed", "projected", "ignored", "unrouted", "dead_lettered"},
        "route": {route.row.id for its in CONFIGURATION.table.by_type.values() for route in its},
        "lane": {"urgent", "transactional", "marketing"}, "stage": {"router"}, "reason": {*DeadLetterReason, *Reason, ""},
        "outcome": set(OutcomeKind), "category": {"transactional", "marketing"},
    }  # fmt: skip
    told = {place: value - before.get(place, 0) for place, value in series().items() if value != before.get(place)}
    assert sum(value for (name, _), value in told.items() if name == "sms_records_total") == EVENTS
    for name, labels in told:
        for label, value in labels:
            assert value in allowed[label], (name, label, value)
    assert len(told) < 200


def test_no_label_is_anything_that_a_person_or_an_event_chooses() -> None:
    assert ENTRIES
    labels = {label for entry in ENTRIES.values() for label in entry.labels}

    assert not labels & {
        "campaign",
        "recipient",
        "person",
        "contact",
        "phone",
        "event_id",
        "message_id",
        "type",
        "key",
        "country",
    }
    # Each says when to worry, or only explains others; a page that says so of all would be of no use.
    assert sum(bool(entry.worry) for entry in ENTRIES.values()) > len(ENTRIES) / 2
