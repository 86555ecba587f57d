"""
The pictures of the docs, made anew: what a terminal, a browser and Prometheus show.

    python -m tests.pictures [status report letters]            # needs Chromium
    uv run --with matplotlib python -m tests.pictures overview   # three minutes of a worker under load, a real Prometheus
"""

import argparse
import asyncio
import io
import re
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console

from deploy.grafana.build import load
from tests.acceptance.test_monitoring import some_of_everything
from tests.acceptance.test_pages import a_month
from tests.browser import open_page
from tests.prometheus import open_prometheus
from tests.world import open_world
from worker.admin import views as admin
from worker.cli.status import shown
from worker.demo.broker import open_broker
from worker.pausing import Pause
from worker.records import Record
from worker.replaying.letters import Letter
from worker.answers.report_page import page as report_page
from worker.state.schema import migrate
from worker.state.presence import Process
from worker.state.telling import Counts, Told, Waiting
from worker.answers.statusing import Ended, Source, Status

IMAGES = Path(__file__).parent.parent / "docs" / "images"
NOW = datetime(2026, 11, 28, 9, 41, 7, tzinfo=UTC)
SECONDS = 180


def a_morning() -> Status:
    """A campaign under way, one lane paused, a few letters."""
    process = Process("a", "worker-1", "router and sender", "0.1.0", "692c6aa21df9", False, ["2026-11"], "2026-11")
    sources = [
        Source("urgent", 0, 0, 3.1), Source("control", 0, 0, 1.0), Source("normal", 12, 0.4, 41.7), Source("bulk", 18_220, 97, 612.0),
        Source("replay", 0, 0, 0), Source("sender-urgent", 0, 0, 3.0), Source("sender-transactional", 3, 0.2, 58.2),
        Source("sender-marketing", 61_480, 254, 0.0),
    ]  # fmt: skip
    told = Told({"octopush-transactional": None, "octopush-marketing": None}, {}, 1.4, {})
    waiting = [
        ("marketing", "cap_reached", "later", 122), ("marketing", "outside_hours", "14h", 8_410),
        ("transactional", "delayed", "later", 424), ("transactional", "delayed", "9h", 1_480),
    ]  # fmt: skip
    counts = Counts([Waiting(*one) for one in waiting], {"claimed": 14, "in_doubt": 0, "released": 0})
    rows = [
        ("transactional", "order_shipped", "accepted", ""), ("urgent", "otp_code", "accepted", ""),
        ("transactional", "order_delivered", "accepted", ""), ("marketing", "promotion", "suppressed", "consent_revoked"),
        ("urgent", "otp_code", "accepted", ""), ("transactional", "order_shipped", "dead_lettered", "advertising"),
    ]  # fmt: skip
    ended = [Ended(NOW - timedelta(seconds=9 - n), *row) for n, row in enumerate(rows)]
    paused = {"lane:marketing": Pause("wrong prices in the autumn offer", "marie@ops-1", "2026-11-28T09:36:53+00:00")}
    latency = {"urgent": (0.19, 0.61), "transactional": (0.42, 1.9), "marketing": (7.4, 31.0)}
    letters = {"router": 2, "urgent": 0, "transactional": 1, "marketing": 0}
    return Status(NOW, "live", [process] * 4, sources, told, counts, paused, latency, letters, ended)


async def status() -> None:
    console = Console(record=True, width=112, file=io.StringIO(), force_terminal=True)
    console.print(shown(a_morning()))
    svg = re.sub(r"@font-face \{.*?\}", "", console.export_svg(title="sms-worker status"), flags=re.DOTALL)
    await photograph("status.png", f"<body style='margin:0'>{svg}</body>", 1100)


async def report() -> None:
    await photograph("report.png", report_page(a_month("carts")).split("<h2>By campaign")[0], 1000)


async def letters() -> None:
    told = [
        ("advertising", "transactional", "order.delivered", "order_delivered", "text", "a transactional text advertises: price_off"),
        ("bad_data", "router", "order.shipped", "", "data.order_id", "String should have at least 1 character"),
        ("text_too_long", "transactional", "order.shipped", "gift_shipped", "max_segments", "2 segments in UCS-2; max_segments is 1"),
    ]  # fmt: skip
    newest, counts = [], Counter()
    for number, (reason, stage, kind, template, field, error) in enumerate(told * 3):
        its = {"reason": reason, "stage": stage, "event-type": kind, "template": template, "field": field, "error": error,
               "attempts": "1"}  # fmt: skip
        headers = tuple((f"x-dlq-{name}", value.encode()) for name, value in its.items())
        at = int((NOW - timedelta(minutes=41 - 4 * number)).timestamp() * 1000)
        newest.append(Letter(Record(f"sms.{stage}.dlq", 0, number, at, None, b"", headers)))
        counts[stage, reason, kind, template, field] += 1
    await photograph("letters.png", admin.letters(counts, newest, {}), 1150)


async def photograph(name: str, html: str, width: int) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".html", encoding="utf-8") as file:
        file.write(html)
        file.flush()
        async with open_page(width, 400) as page:
            await page.goto(Path(file.name).as_uri())
            await page.screenshot(path=IMAGES / name, full_page=True)


async def overview() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, url = Path(name), f"sqlite+aiosqlite:///{name}/state.db"
        await asyncio.to_thread(migrate, url)
        async with (
            open_broker() as broker,
            open_world(folder, broker, url, accounts={"price_per_segment": 0.05}) as world,
            world.process(),
            open_prometheus(folder / "prometheus", [f"127.0.0.1:{world.port()}"]) as prometheus,
        ):
            await world.people(20)
            began = time.time()
            while time.time() < began + SECONDS:
                world.provider.behaviour.latency_ms = 80 + 60 * (int(time.time() - began) // 30 % 3)
                world.provider.behaviour.error_rate = 0.1 if 100 < time.time() - began < 125 else 0.0
                await some_of_everything(world, int(time.time() - began))
                await asyncio.sleep(0.7)
            ended, answers = time.time(), {}
            for panel in load()["overview"][1]:
                for legend, expression in panel.queries.items():
                    asked = expression.replace("$__rate_interval", "15s").replace("[1h]", "[1m]")
                    answers[panel.title, legend] = await prometheus.stretch(asked, began + 20, ended, 2)
            draw(answers, began)


def draw(answers, began: float) -> None:
    """What Grafana would show, near enough."""
    import matplotlib.pyplot as plt

    plt.style.use("dark_background")
    panels = load()["overview"][1]
    figure, axes = plt.subplots(4, 3, figsize=(15, 13), facecolor="#111217")
    for panel, axis in zip(panels, axes.flat, strict=True):
        axis.set_facecolor("#181b1f")
        axis.set_title(panel.title, loc="left", fontsize=10, color="#ccccdc")
        axis.grid(color="#2a2d33", linewidth=0.6)
        axis.tick_params(labelsize=7, colors="#9a9aa5")
        for spine in axis.spines.values():
            spine.set_visible(False)
        lines = 0
        for legend in panel.queries:
            for series in answers[panel.title, legend]:
                label = re.sub(r"\{\{(\w+)\}\}", lambda m, its=series["metric"]: its.get(m[1], ""), legend)
                points = [
                    (float(at) - began, float(value)) for at, value in series["values"] if value not in ("NaN", "+Inf")
                ]
                if points:
                    axis.plot(*zip(*points, strict=True), linewidth=1.3, label=label)
                    lines += bool(label)
        if panel.unit == "percentunit":
            axis.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        if 0 < lines <= 12:
            axis.legend(fontsize=6, frameon=False, ncols=2, labelcolor="#ccccdc")
    figure.suptitle("SMS worker: Overview", x=0.02, ha="left", fontsize=14, color="#ccccdc")
    figure.tight_layout()
    figure.savefig(IMAGES / "overview.png", dpi=75)


if __name__ == "__main__":
    made = {"status": status, "report": report, "letters": letters, "overview": overview}
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("which", nargs="*", choices=made, default=["status", "report", "letters"])
    for which in parser.parse_args().which:
        asyncio.run(made[which]())
