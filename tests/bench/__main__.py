"""
Router and sender beside bare loops, on real Apache Kafka, SQLite and PostgreSQL, side by side in one run.

    python -m tests.bench [--repeats 3] [--events 30000] [--messages 6000] [--only router|sender]

Figures of these machines are noisy: read the ratios. Raw rows go to bench-results/.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from rich.console import Console
from rich.table import Table

from schemas.events import EVENTS
from tests import builders, kafka, postgres
from worker.demo.broker import free_port
from worker.demo.configuring import CREDENTIALS, Stage, write_configuration
from worker.kafka.sink import open_sink
from worker.kafka.clients import make_producer
from worker.kafka.topics import create_topics, open_admin
from worker.messages import lane_record
from worker.people import Change
from worker.routing.deciding import Deciding, Routed
from worker.routing.loading import load_configuration
from worker.sealing import load_key_ring, load_pepper
from worker.settings import Intake
from worker.state.database import migrate, open_database
from worker.state.people import People
from worker.state.projection import Projector

CONTACTS = 1_000
# Three rules on one type, one of them true; each needs the contact.
ROUTES = """
routes:
  - {id: first, event: order.shipped, template: order_shipped, when: "contact.attributes.orders_90d >= 3"}
  - {id: second, event: order.shipped, template: order_shipped, when: "contact.attributes.city == 'Lille'"}
  - {id: third, event: order.shipped, template: order_shipped, when: "data.order_id == 'none' && contact.country == 'FR'"}
"""
RESULTS = Path("bench-results")


def run(kind: str, **arguments: Any) -> dict[str, Any]:
    """Run a subject in a process of its own; return what it measured."""
    command = [sys.executable, "-m", "tests.bench.subjects", kind, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, **CREDENTIALS})
    if done.returncode:
        sys.exit(f"{kind} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


class Bench:
    """Prepares topics and databases, and runs each subject in turn."""

    def __init__(self, broker: str, pg: postgres.Postgres, folder: Path) -> None:
        self.broker, self.pg, self.folder = broker, pg, folder
        self._count = 0

    def config(self, database: str, provider: str, *, rules: bool) -> tuple[Path, str]:
        """Write a configuration with topics of its own; return its folder and its prefix."""
        self._count += 1
        data = self.folder / f"run{self._count}"
        url = self.pg.new_database() if database == "postgresql" else f"sqlite+aiosqlite:///{data}/state.db"
        data.mkdir()
        prefix = f"sms{self._count}"
        kafka_settings = {
            "bootstrap_servers": self.broker,
            "prefix": prefix,
            "session_timeout_s": 10,
            "commit_every_s": 1,
        }
        slots = {"slots": 200, "buffered_records": 2000, "partitions": 12}
        topics = [
            {"name": f"in{self._count}.orders", "start": "earliest", "events": ["order.shipped"], "partitions": 6}
        ]
        stage = Stage(
            broker=self.broker, provider=provider, database=url, data=data, embedded=False, max_in_flight=200,
            rates={"transactional": 1e6, "marketing": 1e6},
            settings={"kafka": kafka_settings, "lanes": {"transactional": slots}, "intakes": {"normal": {"topics": topics}}},
        )  # fmt: skip
        folder = write_configuration(builders.SHIPPED, data / "config", stage)
        if rules:
            (folder / "routes.yaml").write_text(ROUTES)
        migrate(url)
        return folder, prefix

    async def prepare(self, folder: Path, events: int, *, as_messages: bool) -> None:
        """Make contacts, and put events on the input topic or messages on the lane."""
        configuration = load_configuration(folder)
        settings = configuration.settings
        async with open_admin(settings.kafka) as admin:
            await create_topics(admin, settings)
        ring, pepper = (
            load(path, create=True)
            for load, path in ((load_key_ring, settings.key_ring_file), (load_pepper, settings.pepper_file))
        )
        async with open_database(settings.database) as database:
            people = People(database, ring)
            await Projector(database, people, pepper).project([_contact(n) for n in range(CONTACTS)])
            (topic,) = settings.intakes[Intake.NORMAL].topics
            if not as_messages:
                await self._publish_events(topic.name, events)
                return
            deciding = Deciding(Intake.NORMAL, settings.deployment, {topic.name: topic}, configuration.table, pepper)
            async with open_sink(make_producer(settings.kafka)) as sink:
                for start in range(0, events, 1000):
                    reads = [deciding.read(_event(topic.name, n)) for n in range(start, min(start + 1000, events))]
                    known = await people.load({s for read in reads for s in read.subjects()}, create_keys=True)
                    decided = [deciding.decide(read, known) for read in reads]
                    messages = [m for one in decided if isinstance(one, Routed) for m in one.messages]
                    await (
                        await sink.enqueue([lane_record(f"{settings.kafka.prefix}.transactional", m) for m in messages])
                    )

    async def _publish_events(self, topic: str, events: int) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.broker, acks=1, linger_ms=5)
        await producer.start()
        for number in range(events):
            record = _event(topic, number)
            await producer.send(topic, record.value, key=record.key, headers=list(record.headers))
        await producer.stop()


def _event(topic: str, number: int):
    its = builders.data("order.shipped", {"contact_id": f"c-{number % CONTACTS}"}, order_id=str(number))
    now = time.time()
    return builders.record(topic, **builders.binary("order.shipped", its, f"e-{number}", None), offset=number,
                           key=f"c-{number % CONTACTS}".encode(), timestamp_ms=int(now * 1000))  # fmt: skip


def _contact(number: int) -> Change:
    attributes = {"orders_90d": 5, "city": "Lyon", "interests": ["running"]}
    card = {
        "contact_id": f"c-{number}",
        "phone": f"+336{71000000 + number:08}",
        "first_name": "François",
        "attributes": attributes,
    }
    data = EVENTS["contact.updated"].model_validate(builders.data("contact.updated", **card))
    return Change(data, 1.0, f"u-{number}", builders.record("customers.events", offset=number))


def measure_router(bench: Bench, events: int, rows: list[dict[str, Any]]) -> None:
    for database in ("sqlite", "postgresql"):
        folder, prefix = bench.config(database, "http://127.0.0.1:1", rules=True)
        asyncio.run(bench.prepare(folder, events, as_messages=False))
        topic, out = prefix.replace("sms", "in") + ".orders", f"{prefix}.marketing"
        note(
            rows,
            "router",
            "",
            "bare loop",
            run("bare_router", bootstrap=bench.broker, topic=topic, out=out, count=events),
        )
        note(rows, "router", "", database, run("worker", config=str(folder), role="router", count=events))


def measure_sender(bench: Bench, messages: int, latency_ms: int, rows: list[dict[str, Any]]) -> None:
    port = free_port()
    double = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.double", str(port), str(latency_ms)], stdout=subprocess.PIPE
    )
    double.stdout.readline()
    try:
        url, case = f"http://127.0.0.1:{port}", f"{latency_ms} ms"
        for database in ("sqlite", "postgresql"):
            folder, prefix = bench.config(database, url, rules=False)
            asyncio.run(bench.prepare(folder, messages, as_messages=True))
            bare = {
                "topic": f"{prefix}.transactional",
                "out": f"{prefix}.marketing",
                "url": f"{url}/v1/public/sms-campaign/send",
            }
            note(rows, "sender", case, "bare loop", run("bare_sender", bootstrap=bench.broker, count=messages, **bare))
            note(rows, "sender", case, database, run("worker", config=str(folder), role="sender", count=messages))
        note(rows, "double", case, "its own ceiling", run("ceiling", port=port, count=20_000))
    finally:
        double.terminate()
        double.wait()


def note(rows: list[dict[str, Any]], what: str, case: str, who: str, measured: dict[str, Any]) -> None:
    rows.append({"what": what, "case": case, "who": who, **measured})
    print(json.dumps(rows[-1]), file=sys.stderr, flush=True)


def table(rows: list[dict[str, Any]]) -> Table:
    """Medians, and the median of the ratios to the bare loop of the same pair."""
    shown = Table(title="Medians; ratios are to the bare loop that ran right before", title_justify="left", box=None)
    for heading in ("what", "provider", "who", "per second", "ratio", "CPU µs each", "ratio "):
        shown.add_column(heading, justify="left" if heading in ("what", "provider", "who") else "right")
    for key in dict.fromkeys((row["what"], row["case"], row["who"]) for row in rows):
        its = [index for index, row in enumerate(rows) if (row["what"], row["case"], row["who"]) == key]
        pairs = [(rows[i], rows[i - 1]) for i in its if key[2] in ("sqlite", "postgresql")]
        ratio = statistics.median(a["per_s"] / b["per_s"] for a, b in pairs) if pairs else None
        cpu = statistics.median(a["cpu_us"] / b["cpu_us"] for a, b in pairs) if pairs else None
        speed = statistics.median(rows[i]["per_s"] for i in its)
        cost = statistics.median(rows[i]["cpu_us"] for i in its)
        shown.add_row(
            *key, f"{speed:,.0f}", f"{ratio:.2f}" if ratio else "", f"{cost:,.0f}", f"{cpu:.2f}" if cpu else ""
        )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure router and sender beside bare loops.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--events", type=int, default=30_000)
    parser.add_argument("--messages", type=int, default=6_000)
    parser.add_argument("--only", choices=["router", "sender"])
    arguments = parser.parse_args()
    if problem := kafka.missing() or postgres.missing():
        sys.exit(problem)
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(kafka.running(folder / "kafka")).address
        bench = Bench(broker, stack.enter_context(postgres.running()), folder)
        for _ in range(arguments.repeats):
            if arguments.only != "sender":
                measure_router(bench, arguments.events, rows)
            if arguments.only != "router":
                for latency_ms in (50, 20):
                    measure_sender(bench, arguments.messages, latency_ms, rows)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    Console().print(table(rows))
    Console().print(f"raw rows: {path}")


if __name__ == "__main__":
    main()
