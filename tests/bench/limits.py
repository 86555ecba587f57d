"""How much of a provider's rate is used, by one process and by three; and how soon the keys of a killed one are sent again."""

import asyncio
import statistics
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.bench.bench import CONTACTS, Bench, double, note, started, sync, wait_for, worker
from worker.kafka.clients import make_producer
from worker.kafka.sink import open_sink
from worker.records import Outgoing
from worker.routing.loading import load_configuration

Rows = list[dict[str, Any]]
RATE = 300.0
SENDER = ("--role", "sender", "--lane", "transactional")
SETTLING_S = 10
KEYS = 100
KILL_EVERY_S = 70.0  # longer than session and lease together


def measure_rate(bench: Bench, seconds: float, rows: Rows) -> None:
    """Send as fast as 300 segments a second allow."""
    for processes in (1, 3):
        with double(50) as provider, ExitStack() as stack:
            folder, _ = bench.config("postgresql", provider.url, rates=(RATE, RATE))
            sync(bench.people(folder))
            count = int(RATE * (seconds + 4 * SETTLING_S))
            sync(bench.write(folder, sync(bench.messages(folder, [n % CONTACTS for n in range(count)]))))
            for n in range(processes):
                stack.enter_context(started(worker(folder, *SENDER), folder / f"{n}.log"))
            wait_for(lambda provider=provider: provider.count() > 0, 60, "the first text")
            time.sleep(seconds + 2 * SETTLING_S)
            seen = sorted(row[0] for row in provider.requests())
            begin = seen[0] + SETTLING_S
            within = [at for at in seen if begin <= at < begin + seconds]
            a_second = Counter(int(at - begin) for at in within)
            note(rows, "rate", f"{RATE:.0f} segments/s", f"{processes} process{'es'[: 2 * (processes > 1)]}", {
                "used": round(len(within) / (RATE * seconds), 4), "seconds": seconds,
                "least_in_5_s": round(min(sum(a_second[s + k] for k in range(5)) for s in range(int(seconds) - 5)) / (5 * RATE), 3),
            })  # fmt: skip


def measure_recovery(bench: Bench, kills: int, rows: Rows) -> None:
    """Two senders, a message for each person every second; one is killed, and its people must be sent to again."""
    waits: list[float] = []
    with double(50) as provider, ExitStack() as stack:
        folder, _ = bench.config("postgresql", provider.url)
        lease_s = min(account.lease_s for account in load_configuration(folder).accounts.accounts.values())
        sync(bench.people(folder))
        records = sync(bench.messages(folder, [n % KEYS for n in range(int(KEYS * (kills * KILL_EVERY_S + 60)))]))
        crew = [ExitStack(), ExitStack()]
        processes = [
            its.enter_context(started(worker(folder, *SENDER), folder / f"{n}.log")) for n, its in enumerate(crew)
        ]
        for its in crew:
            stack.push(its)
        ended = threading.Event()
        stack.callback(ended.set)
        threading.Thread(target=sync, args=[_steadily(folder, records, ended)], daemon=True).start()
        wait_for(lambda: provider.count() > 20 * KEYS, 90, "the first texts")
        for number in range(kills):
            killed_at, place = time.time(), number % 2
            processes[place].kill()
            time.sleep(KILL_EVERY_S - 20)
            waits += _waits(provider.requests(), killed_at)
            processes[place] = crew[place].enter_context(started(worker(folder, *SENDER), folder / f"{place}.log"))
            time.sleep(20)
    waits.sort()
    note(rows, "recovery", f"{kills} kills", "worker", {
        "keys": len(waits), "p50_s": round(statistics.median(waits), 1), "p99_s": round(waits[int(len(waits) * 0.99)], 1),
        "longest_s": round(waits[-1], 1), "session_s": 10, "lease_s": lease_s,
    })  # fmt: skip


async def _steadily(folder: Path, records: list[Outgoing], ended: threading.Event) -> None:
    began = time.time()
    async with open_sink(make_producer(load_configuration(folder).settings.kafka)) as sink:
        for number, record in enumerate(records):
            await asyncio.sleep(max(0.0, began + number / KEYS - time.time()))
            if ended.is_set():
                return
            await sink.enqueue([record])


def _waits(requests: list[list[Any]], killed_at: float) -> list[float]:
    """Return how long each person waited who was not sent to within three seconds."""
    nexts: dict[str, float] = {}
    for at, _, who, _ in sorted(requests):
        if at > killed_at:
            nexts.setdefault(who, at - killed_at)
    everybody = {row[2] for row in requests}
    return [each for who in everybody if (each := nexts.get(who, KILL_EVERY_S)) > 3.0]
