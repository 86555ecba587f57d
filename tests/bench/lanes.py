"""
How long a login code takes from its event's append to its HTTP request, beside a million other messages.

Open loop: codes are published at fixed times, and each is timed from when it was due to be published, however late that was.
"""

import asyncio
import re
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests import builders
from tests.bench.bench import Bench, Double, double, event, note, outgoing, phone, started, sync, wait_for, worker
from tests.memory import resident_mib
from worker.kafka.clients import make_producer
from worker.kafka.sink import open_sink
from worker.records import Outgoing
from worker.routing.loading import load_configuration
from worker.settings import Intake

Rows = list[dict[str, Any]]
RATE, MARKETING_RATE = 20.0, 100.0
DISTINCT = 40_000  # messages that are made anew; more than are drained while anybody looks
# As in production: codes have a router and a sender of their own.
LAYOUT = (("--role", "router", "--intake", "urgent"),
          ("--role", "router", "--intake", "control", "--intake", "normal", "--intake", "bulk"),
          ("--role", "sender", "--lane", "urgent"),
          ("--role", "sender", "--lane", "transactional", "--lane", "marketing"))  # fmt: skip


def measure_lanes(bench: Bench, samples: int, backlog: int, rows: Rows) -> None:
    """Idle; a million in the lane; a million before the router; three whole workers, idle and restarted one by one."""
    for case in ("idle", "marketing lane", "before the router"):
        with _world(bench) as (folder, prefix, provider), ExitStack() as stack:
            if case == "marketing lane":
                promotions = sync(bench.messages(folder, _people(), Intake.BULK, kind="promotion.announced"))
                sync(bench.write(folder, _repeated(promotions, backlog)))
            if case == "before the router":
                events = [outgoing(event(prefix.replace("sms", "in") + ".marketing.events", n, n % 1000, kind="promotion.announced"))
                          for n in range(DISTINCT)]  # fmt: skip
                sync(bench.write(folder, _repeated(events, backlog)))
            processes = [
                stack.enter_context(started(worker(folder, *words), folder / f"{n}.log"))
                for n, words in enumerate(LAYOUT)
            ]
            _await_running(folder, len(LAYOUT))
            watching = Memory(processes[-1].pid)
            note(rows, "urgent", case, "four processes", {**codes(folder, provider, samples), **watching.seen()})
    for case in ("idle", "rolling restart"):
        with _world(bench) as (folder, _, provider):
            with _crew(folder) as crew:
                restart = _Rolling(crew, folder, samples / RATE) if case == "rolling restart" else None
                seen = codes(folder, provider, samples, meanwhile=restart)
                note(rows, "urgent", case, "three whole workers", seen)


@contextmanager
def _world(bench: Bench) -> Iterator[tuple[Path, str, Double]]:
    with double(50) as provider:
        shipped = YAML(typ="safe").load((builders.SHIPPED / "worker.yaml").read_text())
        own = f"in{bench.next}."
        for its in shipped["intakes"].values():
            for topic in its["topics"]:
                topic |= {"name": own + topic["name"], "start": "earliest"}
        settings = {"lanes": shipped["lanes"]}
        folder, prefix = bench.config(
            "postgresql", provider.url, rates=(1e6, MARKETING_RATE), settings=settings, intakes=shipped["intakes"]
        )
        sync(bench.people(folder, ["offers"]))
        yield folder, prefix, provider


def _people() -> list[int]:
    return [n % 1000 for n in range(DISTINCT)]


def _repeated(records: list[Outgoing], count: int) -> list[Outgoing]:
    return [records[n % len(records)] for n in range(count)]


def _await_running(folder: Path, processes: int) -> None:
    def running() -> bool:
        return sum((folder / f"{n}.log").read_text().count("worker.running") > 0 for n in range(processes)) == processes

    wait_for(running, 120, "the start")
    time.sleep(5)


def codes(folder: Path, provider: Double, samples: int, meanwhile: Callable[[], None] | None = None) -> dict[str, Any]:
    """Publish *samples* codes, and return how long they took, in milliseconds."""
    began = time.time() + 1
    if meanwhile is not None:
        threading.Thread(target=meanwhile, daemon=True).start()
    sync(_publish(folder, samples, began))
    wanted = set(range(samples))

    def came() -> dict[int, float]:
        first: dict[int, float] = {}
        for at, _, who, number in provider.requests():
            if who.startswith("+33672") and number in wanted:
                first.setdefault(number, at)
        return first

    wait_for(lambda: len(came()) >= samples, 90, "the last code")
    took = sorted(1000 * (at - began - number / RATE) for number, at in came().items())
    return {
        "samples": len(took),
        "p50_ms": round(statistics.median(took), 1),
        "p99_ms": round(took[int(len(took) * 0.99)], 1),
        "longest_ms": round(took[-1], 1),
    }


async def _publish(folder: Path, samples: int, began: float) -> None:
    settings = load_configuration(folder).settings
    topic = settings.intakes[Intake.URGENT].topics[0].name
    async with open_sink(make_producer(settings.kafka)) as sink:
        for number in range(samples):
            await asyncio.sleep(max(0.0, began + number / RATE - time.time()))
            its = builders.data("otp.requested", {"phone": phone(1_000_000 + number % 500)}, code=f"{number:06}")
            made = builders.binary("otp.requested", its, f"otp-{number}", None)
            await sink.enqueue([Outgoing(topic, str(number % 500).encode(), made["value"], made["headers"])])


class Memory:
    """Looks at a process's memory until it is asked what it saw."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._rows: list[tuple[float, float]] = []
        self._stop = threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        began = time.monotonic()
        while not self._stop.wait(2):
            self._rows.append((time.monotonic() - began, resident_mib(self._pid)))

    def seen(self) -> dict[str, float]:
        """Return the resident memory of the marketing sender, in MiB, and its slope."""
        self._stop.set()
        slope, _ = statistics.linear_regression(*zip(*self._rows, strict=True))
        mib = [each for _, each in self._rows]
        return {"rss_first_mib": round(mib[0]), "rss_most_mib": round(max(mib)), "rss_mib_per_h": round(slope * 3600)}


@contextmanager
def _crew(folder: Path) -> Iterator[list[ExitStack]]:
    crew = [ExitStack() for _ in range(3)]
    try:
        for n, stack in enumerate(crew):
            stack.enter_context(started(worker(folder), folder / f"{n}.log"))
        _await_running(folder, 3)
        yield crew
    finally:
        for stack in crew:
            stack.close()


class _Rolling:
    """Ends one worker after another with SIGTERM, and starts it again."""

    def __init__(self, crew: list[ExitStack], folder: Path, seconds: float) -> None:
        self._crew, self._folder, self._seconds = crew, folder, seconds

    def __call__(self) -> None:
        for n, stack in enumerate(self._crew):
            time.sleep(self._seconds / 4)
            stack.close()
            print(f"restarted {n}", file=sys.stderr)
            stack.enter_context(started(worker(self._folder), self._folder / f"{n}.log"))
