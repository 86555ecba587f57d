"""
A storm of faults over real processes, Apache Kafka and PostgreSQL; ends in a one-page report.

    python -m tests.chaos [--events 100000] [--seconds 420] [--seed 1] [--keys on|off|both]
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from tests import kafka, postgres
from tests.chaos.storm import Plan, Storm


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Kill, freeze, stop and rebalance everything while events flow; then count."
    )
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=600, help="how long events flow and faults come")
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="of the faults; the same one gives the same faults"
    )
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--faults", type=int, help="how many; one in 12 seconds unless said")
    parser.add_argument(
        "--keys", choices=["on", "off", "both"], default="both", help="whether the provider honours request ids"
    )
    parser.add_argument("--keep", type=Path, help="a folder for logs and reports")
    arguments = parser.parse_args()
    if problem := kafka.missing() or postgres.missing():
        sys.exit(problem)
    console, good = Console(highlight=False, soft_wrap=True), True
    for keyed in {"on": [True], "off": [False], "both": [True, False]}[arguments.keys]:
        plan = Plan(
            events=arguments.events, seconds=arguments.seconds, seed=arguments.seed, workers=arguments.workers,
            keyed=keyed, faults=arguments.faults,
        )  # fmt: skip
        console.print(f"seed {plan.seed}: {plan.events} events in {plan.seconds:.0f} s over {plan.workers} workers")
        with tempfile.TemporaryDirectory() as temporary:
            folder = (arguments.keep or Path(temporary)) / ("keyed" if keyed else "keyless")
            folder.mkdir(parents=True, exist_ok=True)
            with kafka.running(folder / "kafka") as broker, postgres.running() as pg:
                accounts = asyncio.run(Storm(plan, folder, broker, pg, console).run())
            (folder / "report.txt").write_text(accounts.page() + "\n")
        console.print(accounts.page())
        console.print("every promise was kept" if accounts.holds else "A PROMISE WAS BROKEN")
        good = good and accounts.holds
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
