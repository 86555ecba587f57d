"""
Twenty minutes of steady work with workers coming and going; prints the slopes of memory, descriptors, tasks and lag.

    python -m tests.chaos.soak [--minutes 20] [--rate 60]
"""

import argparse
import asyncio
import random
import re
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.table import Table

from tests import kafka, postgres
from tests.memory import resident_mib
from tests.chaos.storm import Plan, Storm, make_event
from worker.demo.configuring import CREDENTIALS
from worker.demo.processes import open_process
from worker.environment import load_settings
from worker.kafka.clients import make_producer
from worker.kafka.sink import open_sink

EVERY_S = 5.0


async def soak(
    folder: Path, broker: kafka.Kafka, pg: postgres.Postgres, minutes: float, rate: float, console: Console
) -> list[dict]:
    """Watch one worker while guests come and go beside it; return what was seen of it."""
    storm = Storm(Plan(events=0, seconds=0), folder, broker, pg, console)
    rows: list[dict] = []
    async with AsyncExitStack() as stack:
        provider = [sys.executable, "-m", "tests.chaos.provider", str(storm.port), "15", "keyed"]
        await stack.enter_async_context(open_process(provider, patience_s=2))
        config = await storm._configure()
        sink = await stack.enter_async_context(open_sink(make_producer(load_settings(config / "worker.yaml").kafka)))
        await storm._people(sink)
        log = stack.enter_context((folder / "soak.log").open("wb"))
        command = [sys.executable, "-m", "worker", "run", "--config", config]
        watched = await stack.enter_async_context(open_process(command, environment=CREDENTIALS, output=log))
        port = await _port(folder / "soak.log")
        began, published, draw, guest_at = time.monotonic(), 0, random.Random(3), 60.0
        guest: AsyncExitStack | None = None
        while (at := time.monotonic() - began) < minutes * 60:
            due = int(at * rate)
            await (await sink.enqueue([make_event(number, draw) for number in range(published, due)]))
            published = max(published, due)
            if at > guest_at:
                if guest is None:
                    guest = AsyncExitStack()
                    await guest.enter_async_context(open_process(command, environment=CREDENTIALS))
                else:
                    await guest.aclose()
                    guest = None
                guest_at = at + draw.uniform(30, 90)
            with suppress(aiohttp.ClientError, OSError):
                rows.append({"at": at, **await _look(watched.pid, port)})
                if len(rows) % 12 == 0:
                    console.print({name: round(value, 1) for name, value in rows[-1].items()})
            await asyncio.sleep(EVERY_S)
        if guest is not None:
            await guest.aclose()
    return rows


async def _port(log: Path) -> int:
    for _ in range(600):
        if found := re.findall(r'"port":(\d+)', log.read_text()):
            return int(found[-1])
        await asyncio.sleep(0.1)
    raise RuntimeError("the worker did not start")


async def _look(pid: int, port: int) -> dict[str, float]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as response:
        text = await response.text()
    lag = sum(float(value) for value in re.findall(r"^sms_lag_records\{.*\} (\S+)$", text, re.MULTILINE))
    tasks = float(re.search(r"^sms_tasks (\S+)$", text, re.MULTILINE)[1])
    return {
        "rss_mb": resident_mib(pid),
        "descriptors": float(len(list(Path(f"/proc/{pid}/fd").iterdir()))),
        "tasks": tasks,
        "lag": lag,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Steady work, workers that come and go, and slopes that should be flat."
    )
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--rate", type=float, default=60, help="events per second")
    arguments = parser.parse_args()
    if problem := kafka.missing() or postgres.missing():
        sys.exit(problem)
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory() as temporary:
        with kafka.running(Path(temporary) / "kafka") as broker, postgres.running() as pg:
            rows = asyncio.run(soak(Path(temporary), broker, pg, arguments.minutes, arguments.rate, console))
    rows = rows[len(rows) // 4 :]  # what is still warming up is no slope
    table = Table(title="Slopes over the last three quarters", title_justify="left", box=None)
    for name in ("what", "first", "last", "most", "per hour"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for name in ("rss_mb", "descriptors", "tasks", "lag"):
        values = [row[name] for row in rows]
        slope = statistics.linear_regression([row["at"] / 3600 for row in rows], values).slope
        table.add_row(name, f"{values[0]:.0f}", f"{values[-1]:.0f}", f"{max(values):.0f}", f"{slope:+.1f}")
    console.print(table)


if __name__ == "__main__":
    main()
