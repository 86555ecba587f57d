"""
The worker measured on real Apache Kafka, SQLite and PostgreSQL, side by side in one run with what it is compared with.

    python -m tests.bench [--only router sender drain urgent rate recovery sizes] [--repeats 3]

Figures of small machines are noisy: read the ratios. Raw rows go to bench-results/.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests import kafka, postgres
from tests.bench.bench import Bench
from tests.bench.drains import measure_drain
from tests.bench.lanes import measure_lanes
from tests.bench.limits import measure_rate, measure_recovery
from tests.bench.sizes import measure_sizes
from tests.bench.stages import measure_router, measure_sender

RESULTS = Path("bench-results")
WHAT = ("router", "sender", "drain", "urgent", "rate", "recovery", "sizes")
COMPARED = ("sqlite", "postgresql", "no ledger")


def ratios(rows: list[dict[str, Any]]) -> Table:
    """Medians, and the median of the ratios to the bare loop of the same pair."""
    shown = Table(title="Medians; ratios are to the bare loop that ran right before", title_justify="left", box=None)
    for heading in ("what", "case", "who", "per second", "ratio", "CPU µs each", "ratio "):
        shown.add_column(heading, justify="left" if heading in ("what", "case", "who") else "right")
    for key in dict.fromkeys((row["what"], row["case"], row["who"]) for row in rows):
        its = [index for index, row in enumerate(rows) if (row["what"], row["case"], row["who"]) == key]
        pairs = [(rows[i], rows[i - 1]) for i in its if key[2] in COMPARED]
        ratio = statistics.median(a["per_s"] / b["per_s"] for a, b in pairs) if pairs else None
        cpu = statistics.median(a["cpu_us"] / b["cpu_us"] for a, b in pairs) if pairs else None
        speed = statistics.median(rows[i]["per_s"] for i in its)
        cost = statistics.median(rows[i]["cpu_us"] for i in its)
        shown.add_row(
            *key, f"{speed:,.0f}", f"{ratio:.2f}" if ratio else "", f"{cost:,.0f}", f"{cpu:.2f}" if cpu else ""
        )
    return shown


def figures(what: str, rows: list[dict[str, Any]]) -> Table:
    """Medians of every figure."""
    names = [name for name in rows[0] if name not in ("what", "case", "who")]
    names += [name for row in rows for name in row if name not in (*names, "what", "case", "who")]
    shown = Table(title=what, title_justify="left", box=None)
    for heading in ("case", "who", *dict.fromkeys(names)):
        shown.add_column(heading, justify="left" if heading in ("case", "who") else "right")
    for key in dict.fromkeys((row["case"], row["who"]) for row in rows):
        its = [row for row in rows if (row["case"], row["who"]) == key]
        medians = [
            statistics.median(row[name] for row in its) if name in its[0] else "" for name in dict.fromkeys(names)
        ]
        shown.add_row(*key, *(f"{each:,}" if each != "" else "" for each in medians))
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Measure the worker beside what else there is; all takes over an hour."
    )
    parser.add_argument("--only", nargs="+", choices=WHAT, default=WHAT, help="what to measure (all)")
    parser.add_argument("--repeats", type=int, default=3, help="of router, sender and the uniform drain (3)")
    parser.add_argument("--events", type=int, default=30_000, help="for the router")
    parser.add_argument("--messages", type=int, default=20_000, help="for the sender and the drain")
    parser.add_argument("--backlog", type=int, default=1_000_000, help="that waits beside the urgent lane")
    parser.add_argument("--samples", type=int, default=3_000, help="codes, 20 a second")
    parser.add_argument("--seconds", type=float, default=300, help="that the rate is used for")
    parser.add_argument("--kills", type=int, default=5, help="of a sender")
    wanted = parser.parse_args()
    if problem := kafka.missing() or postgres.missing():
        sys.exit(problem)
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(kafka.running(folder / "kafka")).address
        bench = Bench(broker, stack.enter_context(postgres.running()), folder)
        for _ in range(wanted.repeats):
            if "router" in wanted.only:
                measure_router(bench, wanted.events, rows)
            if "sender" in wanted.only:
                measure_sender(bench, wanted.messages, 50, rows)
                measure_sender(bench, wanted.messages, 20, rows)
            if "drain" in wanted.only:
                measure_drain(bench, wanted.messages, rows)
        if "drain" in wanted.only:
            measure_drain(bench, wanted.messages, rows, zipf=True)
            measure_drain(bench, wanted.messages, rows, kill=True)
        if "rate" in wanted.only:
            measure_rate(bench, wanted.seconds, rows)
        if "recovery" in wanted.only:
            measure_recovery(bench, wanted.kills, rows)
        if "sizes" in wanted.only:
            measure_sizes(bench, wanted.messages, rows)
        if "urgent" in wanted.only:
            measure_lanes(bench, wanted.samples, wanted.backlog, rows)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    console = Console(width=160)
    if paired := [row for row in rows if "cpu_us" in row]:
        console.print(ratios(paired))
    for what in dict.fromkeys(row["what"] for row in rows if "cpu_us" not in row):
        console.print(figures(what, [row for row in rows if row["what"] == what]))
    console.print(f"raw rows: {path}")


if __name__ == "__main__":
    main()
