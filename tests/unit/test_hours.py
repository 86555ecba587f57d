"""When marketing may be sent: by the recipient's own clock and calendar."""

import os
import subprocess
import sys
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import holidays
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from worker.policy.hours import check_hours, zones_of
from worker.policy.number import Number, parse_number
from worker.policy.rules import Day, HoursRules, OpenHours, Policy
from worker.policy.verdicts import Defer, Reason, Refuse, Send

FRANCE = Number("+33612345678", "FR")
RULES = HoursRules()
FIRST, LAST = "00000000-0000-5000-8000-000000000000", "ffffffff-0000-5000-8000-000000000000"
FOREVER = timedelta(days=60)


def ask(moment: datetime, number: Number = FRANCE, zone: str | None = None, message_id: str = FIRST, **changes):
    given = {"rules": RULES, "attributes": {}, "expires_at": moment + FOREVER, "drop": False} | changes
    return check_hours(
        given["rules"], number, zone, given["attributes"], moment.astimezone(UTC), given["expires_at"], message_id,
        drop=given["drop"],
    )  # fmt: skip


def at(text: str, zone: str = "Europe/Paris") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


@pytest.mark.parametrize(
    ("now", "opens"),
    [
        pytest.param("2026-11-25 08:00", None, id="the first minute"),
        pytest.param("2026-11-25 19:59", None, id="the last minute"),
        pytest.param("2026-11-25 07:59", "2026-11-25 08:00", id="a minute early"),
        pytest.param("2026-11-25 20:00", "2026-11-26 08:00", id="closed: tomorrow"),
        pytest.param("2026-11-28 20:00", "2026-11-30 08:00", id="Saturday evening: Monday"),
        pytest.param("2026-11-29 12:00", "2026-11-30 08:00", id="Sunday"),
        pytest.param("2026-12-24 21:00", "2026-12-26 08:00", id="Christmas, then a Saturday"),
        pytest.param("2027-03-27 20:30", "2027-03-30 08:00", id="Easter Monday, and the clock goes forward on the way"),
        pytest.param("2026-10-24 20:30", "2026-10-26 08:00", id="the clock goes back on the way"),
        pytest.param("2028-02-28 22:00", "2028-02-29 08:00", id="a leap day is a day"),
        pytest.param("2026-05-01 12:00", "2026-05-02 08:00", id="Labour Day"),
        pytest.param("2026-07-14 12:00", "2026-07-15 08:00", id="the fourteenth of July"),
    ],
)
def test_the_hours_of_france(now: str, opens: str | None) -> None:
    hours = ask(at(now))

    assert hours.verdict == (Send() if opens is None else Defer(at(opens).astimezone(UTC), Reason.OUTSIDE_HOURS))


@pytest.mark.parametrize(
    ("phone", "zone", "now", "opens"),
    [
        pytest.param("+596696123456", "America/Martinique", "2026-11-25 08:00", None, id="Martinique's morning"),
        pytest.param("+596696123456", "America/Martinique", "2026-11-25 07:00", "2026-11-25 08:00", id="before it"),
        pytest.param("+262692123456", "Indian/Reunion", "2026-11-25 08:30", "2026-11-25 09:00",
                     id="the prefix of Réunion may be on Mayotte, an hour behind"),
        pytest.param("+68987123456", "Pacific/Tahiti", "2026-11-25 08:00", None, id="the whole of Polynesia is awake"),
        pytest.param("+68987123456", "Pacific/Tahiti", "2026-11-25 19:30", "2026-11-26 08:00", id="Gambier sleeps already"),
        pytest.param("+33612345678", "Europe/Paris", "2026-05-22 12:00", None, id="in France a day like any other"),
        pytest.param("+596696123456", "America/Martinique", "2026-05-22 12:00", "2026-05-23 08:00", id="abolition day"),
    ],
)  # fmt: skip
def test_overseas_regions_have_their_own_clocks_and_holidays(
    phone: str, zone: str, now: str, opens: str | None
) -> None:
    number = parse_number(phone)
    assert isinstance(number, Number)

    verdict = ask(at(now, zone), number).verdict

    assert verdict == (Send() if opens is None else Defer(at(opens, zone).astimezone(UTC), Reason.OUTSIDE_HOURS))


def test_moselle_and_alsace_rest_on_good_friday() -> None:
    good_friday = at("2026-04-03 12:00")

    assert ask(good_friday).verdict == Send()
    for region in ("57", "6AE"):
        verdict = ask(good_friday, attributes={"region": region}).verdict
        assert verdict == Defer(at("2026-04-04 08:00").astimezone(UTC), Reason.OUTSIDE_HOURS)
    assert ask(good_friday, attributes={"region": "nowhere"}).verdict == Send()


def test_the_contacts_own_zone_wins_over_the_numbers() -> None:
    noon = at("2026-11-25 12:00")

    assert ask(noon).verdict == Send()
    assert isinstance(ask(noon, zone="America/Los_Angeles").verdict, Defer)
    assert ask(noon, zone="Europe/Nowhere").verdict == Send()  # no zone: the number's


def test_with_several_possible_zones_it_is_open_in_all() -> None:
    portugal = Number("+351912345678", "PT")  # Lisbon, or the Azores an hour behind
    assert {zone.key for zone in zones_of(portugal, None)} == {"Europe/Lisbon", "Atlantic/Azores"}

    assert isinstance(ask(at("2026-11-25 08:30", "Europe/Lisbon"), portugal).verdict, Defer)
    assert ask(at("2026-11-25 09:00", "Europe/Lisbon"), portugal).verdict == Send()
    assert isinstance(ask(at("2026-11-25 20:00", "Europe/Lisbon"), portugal).verdict, Defer)


def test_a_country_nobody_knows_the_zone_of_is_hardly_ever_open() -> None:
    satellite = Number("+870773111632", "ZZ")

    assert ask(at("2026-11-25 12:00"), satellite).verdict == Refuse("suppressed", Reason.OUTSIDE_HOURS)


def test_what_is_dropped_outside_the_hours_is_suppressed() -> None:
    verdict = ask(at("2026-11-25 22:00"), drop=True).verdict

    assert verdict == Refuse("suppressed", Reason.OUTSIDE_HOURS)


def test_an_offer_that_ends_before_the_opening_is_not_kept() -> None:
    night = at("2026-11-25 22:00")

    verdict = ask(night, expires_at=night + timedelta(hours=3)).verdict

    assert verdict == Refuse("expired", Reason.OUTSIDE_HOURS)


def test_those_that_waited_are_spread_and_each_keeps_its_place() -> None:
    night, opening = at("2026-11-25 22:00"), at("2026-11-26 08:00").astimezone(UTC)
    first, last = ask(night, message_id=FIRST).verdict, ask(night, message_id=LAST).verdict

    assert first == Defer(opening, Reason.OUTSIDE_HOURS)
    assert opening + timedelta(minutes=29) < last.until < opening + timedelta(minutes=30)
    assert ask(at("2026-11-26 07:00"), message_id=LAST).verdict == last
    soon = ask(night, message_id=LAST, expires_at=opening + timedelta(minutes=10)).verdict
    assert soon.until < opening + timedelta(minutes=10)  # it would have expired in its place


def test_what_may_be_sent_knows_until_when_and_what_then() -> None:
    hours = ask(at("2026-11-28 19:59"))

    assert hours.closes_at == at("2026-11-28 20:00")
    assert hours.afterwards == Defer(at("2026-11-30 08:00").astimezone(UTC), Reason.OUTSIDE_HOURS)


@pytest.mark.parametrize(("opens", "closes"), [("07:59", "20:00"), ("08:00", "21:31"), ("20:00", "08:00")])
def test_no_setting_goes_beyond_the_charter(opens: str, closes: str) -> None:
    with pytest.raises(ValidationError, match="between 08:00 and 21:30"):
        OpenHours(opens=opens, closes=closes)


MOMENTS = st.datetimes(datetime(2025, 1, 1), datetime(2030, 12, 31), timezones=st.just(UTC))
PLACES = st.sampled_from(
    [
        (FRANCE, None), (FRANCE, "America/Guadeloupe"), (Number("+262692123456", "RE"), None),
        (Number("+351912345678", "PT"), None), (Number("+61412345678", "AU"), None), (Number("+12025550123", "US"), None),
        (Number("+44791112345", "GB"), "Europe/London"), (Number("+34612345678", "ES"), None),
    ]
)  # fmt: skip


@given(MOMENTS, PLACES, st.integers(8, 12), st.integers(13, 21))
@example(datetime(2026, 3, 29, 1, tzinfo=UTC), (FRANCE, None), 8, 20)
@example(datetime(2026, 10, 25, 0, 30, tzinfo=UTC), (FRANCE, None), 8, 20)
@example(datetime(2028, 2, 29, 6, 59, tzinfo=UTC), (FRANCE, None), 8, 20)
def test_whatever_the_moment_nothing_goes_outside_and_it_opens_at_the_first_minute(
    moment, place, opens, closes
) -> None:
    number, zone = place
    rules = HoursRules(default=OpenHours(opens=time(opens), closes=time(closes)), spread=timedelta(minutes=1))
    hours = check_hours(rules, number, zone, {}, moment, moment + FOREVER, FIRST)

    def is_open(when: datetime) -> bool:
        walls = [when.astimezone(its) for its in zones_of(number, zone)]
        days = holidays.country_holidays(number.country, years={wall.year for wall in walls})
        return all(
            time(opens) <= wall.time() < time(closes) and wall.weekday() != 6 and wall.date() not in days
            for wall in walls
        )

    if isinstance(hours.verdict, Send):
        assert is_open(moment)
        assert is_open(hours.closes_at - timedelta(seconds=1))
        assert not is_open(hours.closes_at)
    elif isinstance(hours.verdict, Defer):
        assert not is_open(moment)
        assert is_open(hours.verdict.until)
        minutes = int((hours.verdict.until - moment).total_seconds() // 1800)
        assert not any(is_open(moment + timedelta(minutes=30 * n)) for n in range(max(0, minutes)))
    else:  # four hours of one zone and of another eight hours away never meet
        assert not any(is_open(moment + timedelta(minutes=30 * n)) for n in range(48 * 8))


def test_a_day_without_end_is_never_open() -> None:
    with pytest.raises(ValidationError):
        OpenHours(days=frozenset())
    assert OpenHours(days=frozenset({Day.SUNDAY})).days


def test_the_policys_version_is_the_same_in_every_process() -> None:
    command = [sys.executable, "-c", "from worker.policy.rules import Policy; print(Policy().version)"]

    told = {
        subprocess.run(
            command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert told == {Policy().version + "\n"}
