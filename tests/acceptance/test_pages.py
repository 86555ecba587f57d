"""The pages that people print or show, in a real browser: whole, readable on a phone, and running nothing of what they quote."""

import asyncio
import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests import browser, builders
from tests.browser import open_page, overflows
from tests.conftest import require
from worker.cli.main import app
from worker.content.segments import segment
from worker.demo.configuring import CREDENTIALS
from worker.answers.proving import page as proof
from worker.answers.report_page import page as report_page
from worker.answers.reporting import Line, Report
from worker.sandbox.provider import SandboxProvider
from worker.sandbox.server import open_sandbox
from worker.state.persons import ConsentAct, Person

pytestmark = pytest.mark.browser
EVIL = "<script>window.pwned = true</script><img src=x onerror='window.pwned = true'>"


@pytest.fixture(autouse=True)
def chromium() -> None:
    require(browser.missing())


def preview(tmp_path: Path, template: str, *options: str) -> Path:
    out = tmp_path / f"{template}.html"
    config = Path(shutil.copytree(builders.SHIPPED, tmp_path / "config"))
    file = config / "templates" / f"{template}.yaml"
    file.write_text(re.sub("on_too_long: .*", "max_segments: 3", file.read_text()))
    answer = CliRunner().invoke(app, ["preview", template, "--html", str(out), "--config", str(config), *options])
    assert answer.exit_code == 0, answer.output
    return out


@pytest.mark.parametrize("width", [1280, 390])
async def test_a_preview_shows_each_language_on_a_phone_with_its_borders_and_its_dearest_character(
    tmp_path, width
) -> None:
    long = "é" * 10 + "€ " + "jusque chez vous " * 9
    file = preview(tmp_path, "order_delivered", "--value", f"place={long}")
    async with open_page(width) as page:
        await page.goto(file.as_uri())
        phones = page.locator(".phone")
        bubbles = [await one.inner_text() for one in await page.locator(".bubble").all()]
        boxes = [await one.bounding_box() for one in await phones.all()]
        cuts, dear = await page.locator(".cut").count(), await page.locator(".dear").all_inner_texts()
        sideways = await overflows(page)
        await page.screenshot(path=tmp_path / "preview.png", full_page=True)

    assert len(boxes) == len(bubbles) == 2  # French and English
    assert all(box["width"] > 200 and box["height"] > 300 for box in boxes)
    assert all("jusque chez vous" in text for text in bubbles)
    assert cuts == sum(segment(text).segments - 1 for text in bubbles) > 0
    assert set(dear) == {"€"}
    assert not sideways


def act(kind: str, at: float, **changes) -> ConsentAct:
    record = {"wording": "Oui, envoyez-moi vos offres par SMS", "brand": "BOUTIQUE", "ip": "192.0.2.1"}
    base = {
        "purpose": "offers",
        "channel": "web",
        "wording_version": "v3",
        "event_id": "e",
        "topic": "customers.events",
    }
    place = {"partition": 0, "offset": 7, "recorded_at": at, "record": record}
    return ConsentAct(**{"act": kind, "at": at, **base, **place, **changes})


@pytest.mark.parametrize("width", [1280, 390])
async def test_a_proof_of_consent_reads_and_prints_and_runs_nothing_that_it_quotes(tmp_path, width) -> None:
    at = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
    evil = act("granted", at, record={"wording": EVIL, "brand": EVIL}, channel=EVIL, wording_version="v1")
    sent = {
        "counts_as": "marketing:offers:", "claimed_at": at + 60, "template": "promotion", "template_version": "abc123",
        "outcome": "accepted", "state": "sent",
    }  # fmt: skip
    stop = {"at": at + 200, "scope": "marketing", "reason": "stop"}
    person = Person(
        "hash", ["hash"], [], [act("granted", at), evil, act("revoked", at + 100)], [stop], [], [sent] * 40, []
    )
    file = tmp_path / "proof.html"
    moment = datetime.fromtimestamp(at + 50, UTC)
    file.write_text(proof(person, "+336 •• •• •• 78", moment, ["offers", "invitations"]), "utf-8")

    async with open_page(width) as page:
        await page.goto(file.as_uri())
        await asyncio.sleep(0.2)
        pwned = await page.evaluate("window.pwned === true")
        yes = page.locator("td.yes")
        told, colour = await yes.inner_text(), await yes.evaluate("one => getComputedStyle(one).color")
        headings = await page.locator("h2").all_inner_texts()
        rows = await page.locator("table").nth(3).locator("tr").count()
        quoted = await page.locator("q").first.inner_text()
        sideways = await overflows(page)
        await page.emulate_media(media="print")
        paper = await page.pdf(format="A4")
        await page.emulate_media(media="screen")
        await page.screenshot(path=tmp_path / "proof.png")

    assert not pwned
    assert told == "yes"
    assert colour == "rgb(0, 102, 0)"
    assert len(headings) == 4
    assert rows == 41
    assert "envoyez-moi vos offres" in quoted
    assert not sideways
    assert paper.startswith(b"%PDF")


async def test_the_sandbox_s_phones_show_a_text_as_it_arrives() -> None:
    provider = SandboxProvider()
    async with open_sandbox(provider, "127.0.0.1", 0) as port, open_page() as page:
        await page.goto(f"http://127.0.0.1:{port}/")
        body = {"recipients": [{"phone_number": "+33612345678"}], "text": f"Bonjour {EVIL}", "sender": "BOUTIQUE",
                "purpose": "alert", "request_id": "r-1"}  # fmt: skip
        provider.send(CREDENTIALS["SANDBOX_LOGIN_TRANSACTIONAL"], body)
        await page.get_by_text("Bonjour").first.wait_for(timeout=10_000)
        pwned = await page.evaluate("window.pwned === true")

    assert not pwned


def a_month(cart: str = EVIL) -> Report:
    """Two campaigns and the everyday, a month of them."""
    since = datetime(2026, 11, 1, tzinfo=UTC)
    report = Report(since, since + timedelta(days=30), ("campaign", "route", "category"))
    for day in range(30):
        for number in range(20 + 7 * (day % 5)):
            campaign, route, category = (("autumn", "promotion", "marketing"), (cart, "cart-reminder", "marketing"),
                                         ("", "order-shipped", "transactional"))[number % 3]  # fmt: skip
            data = {"outcome": "accepted", "cost": 0.05, "currency": "EUR", "segments": 1}
            if number % 7 == 0:
                data = {"outcome": "suppressed", "reason": ("no_consent", "cap_reached", "consent_revoked")[number % 3]}
            day_of = report.days.setdefault((since + timedelta(days=day)).date(), Line())
            for line in (report.total, day_of, report.lines.setdefault((campaign, route, category), Line())):
                line.add(data)
                if data["outcome"] == "accepted" and number % 2:
                    line.add({"outcome": "delivered"})
    return report


@pytest.mark.parametrize("width", [1280, 390])
async def test_a_report_shows_its_charts_whole_on_a_screen_and_on_a_phone(tmp_path, width) -> None:
    report, file = a_month(), tmp_path / "report.html"
    file.write_text(report_page(report), "utf-8")
    async with open_page(width) as page:
        await page.goto(file.as_uri())
        text = await page.inner_text("body")
        columns = [await one.bounding_box() for one in await page.locator(".days > div").all()]
        bars = {
            kind: [await one.bounding_box() for one in await page.locator(f".{kind} .bar").all()]
            for kind in ("why", "cost")
        }
        highest = await page.evaluate("Math.max(...[...document.querySelectorAll('.days i')].map(i => i.offsetHeight))")
        rows, sideways = await page.locator("tr").count(), await overflows(page)
        pwned = await page.evaluate("window.pwned")
        await page.screenshot(path=tmp_path / "report.png", full_page=True)

    assert len(columns) == 30
    assert all(box["width"] >= 2 for box in columns)
    assert highest > 60
    assert len(bars["why"]) == len(bars["cost"]) == 3
    assert bars["why"][0]["width"] == max(box["width"] for box in bars["why"]) > 50
    assert rows == 4
    assert "cannot be measured" in text
    assert f"{report.total.sent:,}" in text
    assert not sideways
    assert pwned is None
