"""When a message may go, and what makes it pointless."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from schemas.events import EVENTS
from schemas.events.appointment import AppointmentBooked
from tests.builders import NOW, PEPPER, RING, SHIPPED, binary, data, record
from worker.content.templates import load_templates
from worker.delivery.superseding import is_superseded, told_apart
from worker.errors import ConfigurationError
from worker.people import Contact, Known
from worker.policy.checking import Checking
from worker.policy.hours import zone_for
from worker.policy.verdicts import Defer, Reason
from worker.routing.deciding import Deciding
from worker.routing.loading import load_configuration
from worker.routing.table import Route, load_routes
from worker.settings import Intake, TopicSettings

ROUTE = '{id: reminder, event: appointment.booked, template: appointment_reminder, at: data.starts_at - 24h, local_time: "09:00"}'


def route(tmp_path: Path, row: str = ROUTE) -> Route:
    path = tmp_path / "routes.yaml"
    path.write_text(f"routes:\n  - {row}\n")
    (its,) = load_routes(path, load_templates(SHIPPED / "templates")).for_type("appointment.booked")
    return its


@pytest.mark.parametrize(
    ("starts_at", "zone", "goes_at"),
    [
        ("2026-12-02T15:30:00+01:00", "Europe/Paris", "2026-12-01T09:00:00+01:00"),
        ("2026-12-02T00:30:00+01:00", "Europe/Paris", "2026-12-01T09:00:00+01:00"),
        ("2026-12-02T15:30:00+01:00", "Indian/Reunion", "2026-12-01T09:00:00+04:00"),
        ("2026-03-30T08:00:00+02:00", "Europe/Paris", "2026-03-29T09:00:00+02:00"),  # the clock went forward that night
        ("2026-10-26T08:00:00+01:00", "Europe/Paris", "2026-10-25T09:00:00+01:00"),  # and back that one
        ("2028-03-01T08:00:00+01:00", "Europe/Paris", "2028-02-29T09:00:00+01:00"),  # a leap day
    ],
)
def test_a_reminder_goes_at_nine_of_the_recipients_own_clock(tmp_path, starts_at, zone, goes_at) -> None:
    its = AppointmentBooked.model_validate(data("appointment.booked", starts_at=starts_at))

    event_at = datetime.fromisoformat(starts_at) - timedelta(days=30)

    at = route(tmp_path).not_before(event_at, its, ZoneInfo(zone))

    assert at == datetime.fromisoformat(goes_at)


@pytest.mark.parametrize("zone", ["America/Martinique", "Europe/Paris", "Pacific/Noumea"])
def test_a_date_without_a_time_is_that_day_wherever_one_lives(tmp_path, zone) -> None:
    row = '{id: reminder, event: order.refunded, template: order_refunded, at: data.expected_on - 1d, local_time: "09:00"}'
    path = tmp_path / "routes.yaml"
    path.write_text(f"routes:\n  - {row}\n")
    (its,) = load_routes(path, load_templates(SHIPPED / "templates")).for_type("order.refunded")
    event = EVENTS["order.refunded"].model_validate(data("order.refunded", expected_on="2026-11-30"))

    at = its.not_before(datetime(2026, 11, 23, tzinfo=UTC), event, ZoneInfo(zone))

    assert at == datetime(2026, 11, 29, 9, 0, tzinfo=ZoneInfo(zone))


def test_local_time_needs_a_day(tmp_path) -> None:
    with pytest.raises(ConfigurationError, match="local_time: stands without at"):
        route(tmp_path, ROUTE.replace("at: data.starts_at - 24h, ", ""))


@pytest.mark.parametrize(
    ("phone", "explicit", "zone"),
    [
        (None, None, "Europe/Paris"), ("+33612345678", None, "Europe/Paris"), ("+596696123456", None, "America/Martinique"),
        ("+33612345678", "Indian/Reunion", "Indian/Reunion"), ("nonsense", "Nowhere/Here", "Europe/Paris"),
        ("+262692123456", None, "Indian/Reunion"), ("+262639691234", None, "Indian/Mayotte"),
        ("+34612345678", None, "Europe/Madrid"), ("+351912345678", None, "Europe/Lisbon"),
        ("+447400123456", None, "Europe/London"), ("+61412345678", None, "Australia/Sydney"),
        ("+12015550123", None, "America/New_York"), ("+262692123456", "Nowhere/Here", "Indian/Reunion"),
    ],
)  # fmt: skip
def test_the_zone_is_the_persons_else_their_numbers(phone, explicit, zone) -> None:
    assert zone_for(phone, explicit).key == zone


def test_a_zone_that_is_none_hides_nothing_that_was_said_elsewhere() -> None:
    assert zone_for("+33612345678", "Nowhere/Here", "Indian/Reunion").key == "Indian/Reunion"


@pytest.mark.parametrize(
    ("name", "seen_at", "superseded"),
    [("order", 9.0, False), ("order", 10.0, True), ("order", 11.0, True),
     (">moved", 9.0, False), (">moved", 10.0, False), (">moved", 11.0, True)],
)  # fmt: skip
def test_what_happens_at_the_same_time_supersedes_unless_it_is_the_events_own_type(name, seen_at, superseded) -> None:
    (looked_up,) = told_apart([name])

    assert is_superseded([name, "never"], {looked_up: seen_at}, 10.0) is superseded


@pytest.mark.parametrize("zone", ["Indian/Reunion", "Europe/Paris", "America/Martinique"])
def test_who_is_unknown_yet_gets_their_reminder_by_their_own_clock_once_they_are_known(tmp_path, zone) -> None:
    configuration = configured(tmp_path)
    topics = {"orders.events": TopicSettings(name="orders.events", start="earliest", events=tuple(EVENTS))}
    deciding = Deciding(Intake.NORMAL, "shop-dev", topics, configuration.table, PEPPER)
    read = deciding.read(record(**binary("appointment.booked", data("appointment.booked"))), NOW)
    subject = next(iter(read.subjects()))
    key = RING.new_key(subject)[0]
    contact = Contact(phone="+33612345678", person="p-1", country="FR", zone=zone, attributes={})
    checking = Checking.of(configuration, PEPPER)

    unknown = deciding.decide(read, {subject: Known(key)}).messages[-1]
    known = deciding.decide(read, {subject: Known(key, contact)}).messages[-1]
    waits = checking.check(unknown, Known(key), NOW).verdict
    waited = unknown.model_copy(update={"waiting_for": waits.reason, "waiting_since": NOW - timedelta(minutes=2)})

    assert waits.reason is Reason.UNKNOWN_CONTACT
    assert checking.check(waited, Known(key), NOW).verdict == Defer(unknown.not_before, Reason.DELAYED)
    again = checking.timed(unknown, Known(key, contact))
    assert (again.not_before, again.expires_at) == (known.not_before, known.expires_at)
    assert checking.timed(again, Known(key, contact)) == again
    assert known.unresolved is None
    assert checking.check(unknown, Known(key, contact), NOW).verdict == Defer(known.not_before, Reason.DELAYED)


def configured(tmp_path: Path):
    folder = tmp_path / "config"
    shutil.copytree(SHIPPED, folder)
    (folder / "routes.yaml").write_text(f"routes:\n  - {ROUTE}\n")
    return load_configuration(folder)
