"""A report counts each outcome once, by group and day, and its page says what cannot be known."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import orjson
import pytest

from tests.builders import record
from worker.answers import reporting
from worker.answers.report_page import NO_OPENS, costs, page
from worker.answers.reporting import make_report

SINCE = datetime(2026, 11, 1, tzinfo=UTC)
UNTIL = SINCE + timedelta(days=30)


def told(number: int, outcome: str, days: float = 1.0, **data):
    at = SINCE + timedelta(days=days)
    base = {
        "outcome": outcome,
        "message_id": f"m-{number}",
        "campaign": "autumn",
        "route": "promotion",
        "category": "marketing",
    }
    envelope = {"id": f"o-{number}-{outcome}", "time": at.isoformat(), "data": {**base, **data}}
    return record("sms.outcomes", orjson.dumps(envelope), offset=number)


@pytest.fixture
def report(monkeypatch):
    async def made(*records, **options):
        async def scan(*_, **__):
            for one in records:
                yield one

        monkeypatch.setattr(reporting, "scan", scan)
        chosen = {"by": ("campaign", "category"), "zone": ZoneInfo("Europe/Paris"), **options}
        return await make_report(None, "sms.outcomes", SINCE, UNTIL, **chosen)

    return made


async def test_each_outcome_counts_once_where_it_belongs(report) -> None:
    twice = told(1, "accepted", cost=0.05, currency="EUR", segments=1)
    found = await report(
        twice, twice, told(2, "accepted", cost=0.1, currency="EUR", segments=2), told(2, "delivered"), told(1, "clicked"),
        told(3, "suppressed", reason="no_consent"), told(4, "expired"), told(5, "deferred", reason="delayed"),
        told(6, "accepted", -0.1), told(7, "accepted", 30.0), told(8, "accepted", campaign=None, category="transactional"),
        record("sms.outcomes", b"not ours", offset=99), told(9, "unrouted", message_id=None),
    )  # fmt: skip

    marketing, transactional = found.lines["autumn", "marketing"], found.lines["", "transactional"]
    assert (marketing.sent, marketing.not_sent, marketing.segments) == (2, 2, 3)
    assert marketing.ended["delivered"] == marketing.ended["clicked"] == 1
    assert dict(marketing.why) == {"no_consent": 1, "expired": 1}
    assert costs(marketing) == "0.15 EUR"
    assert marketing.share(marketing.ended["delivered"]) == 0.5
    assert transactional.sent == 1
    assert found.total.sent == 3
    assert [group for group, _ in found.ordered()] == [("autumn", "marketing"), ("", "transactional")]


async def test_days_are_those_of_the_zone_and_a_campaign_can_be_asked_for(report) -> None:
    late = told(1, "accepted", 1 + 23.5 / 24)  # half past eleven in the evening, UTC
    paris = await report(late)
    utc = await report(late, told(2, "accepted", campaign="spring"), zone=ZoneInfo("UTC"), campaign="autumn")

    assert [day.isoformat() for day in paris.days] == ["2026-11-03"]
    assert [day.isoformat() for day in utc.days] == ["2026-11-02"]
    assert utc.total.sent == 1


async def test_what_was_published_again_is_forgotten_only_after_half_a_million_others(report, monkeypatch) -> None:
    monkeypatch.setattr(reporting, "REMEMBERED", 3)
    found = await report(*(told(n, "accepted") for n in (1, 2, 1, 3, 4, 5, 1)))

    assert found.total.sent == 6


async def test_a_page_of_nothing_is_a_page_and_nothing_is_told_of_opens(report) -> None:
    empty = page(await report())
    full = page(await report(told(1, "accepted", campaign="<b>autumn</b>")))

    assert NO_OPENS in empty
    assert "not reported" in empty
    assert "<b>autumn" not in full
    assert "&lt;b&gt;autumn" in full


async def test_a_dead_letter_that_was_put_back_and_sent_counts_as_sent(report) -> None:
    found = await report(
        told(1, "dead_lettered", reason="text_too_long"), told(1, "accepted", 2.0), told(2, "dead_lettered", reason="text_too_long"),
    )  # fmt: skip

    assert (found.total.sent, found.total.not_sent) == (1, 1)
    assert dict(found.total.why) == {"text_too_long": 1}
    assert sum(line.sent + line.not_sent for line in found.days.values()) == 2
