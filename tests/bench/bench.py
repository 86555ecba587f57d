"""What every measurement needs: topics, databases and people of its own, and subjects in processes of their own."""

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from schemas.events import EVENTS
from tests import builders, postgres
from worker.demo.broker import free_port
from worker.demo.configuring import CREDENTIALS, Stage, write_configuration
from worker.kafka.clients import make_producer
from worker.kafka.sink import open_sink
from worker.kafka.topics import create_topics, open_admin
from worker.messages import lane_record
from worker.people import Change
from worker.records import Outgoing, Record
from worker.routing.deciding import Deciding, Routed
from worker.routing.loading import load_configuration
from worker.secret_files import load_key_ring, load_pepper
from worker.settings import Intake
from worker.state.database import open_database
from worker.state.schema import migrate
from worker.state.people import People
from worker.state.projection import Projector

CONTACTS = 1_000
# Three rules on one type, one of them true.
ABOUT_CONTACTS = """
routes:
  - {id: first, event: order.shipped, template: order_shipped, when: "contact.attributes.orders_90d >= 3"}
  - {id: second, event: order.shipped, template: order_shipped, when: "contact.attributes.city == 'Lille'"}
  - {id: third, event: order.shipped, template: order_shipped, when: "data.order_id == 'none' && contact.country == 'FR'"}
"""
ABOUT_DATA = """
routes:
  - {id: first, event: order.shipped, template: order_shipped, when: "data.order_id != 'none'"}
  - {id: second, event: order.shipped, template: order_shipped, when: "data.carrier == 'nobody'"}
  - {id: third, event: order.shipped, template: order_shipped, when: "data.order_id == 'none' && data.carrier == 'nobody'"}
"""


def run(kind: str, **arguments: Any) -> dict[str, Any]:
    """Run a subject in a process of its own; return what it measured."""
    done = subprocess.run(
        command(kind, **arguments), capture_output=True, text=True, timeout=900, env={**os.environ, **CREDENTIALS}
    )
    if done.returncode:
        sys.exit(f"{kind} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def command(kind: str, **arguments: Any) -> list[str]:
    return [sys.executable, "-m", "tests.bench.subjects", kind, json.dumps(arguments)]


@contextmanager
def started(words: Sequence[str], log: Path | None = None) -> Iterator[subprocess.Popen]:
    """Run a process until the block ends."""
    output = log.open("ab") if log else subprocess.DEVNULL
    process = subprocess.Popen(words, stdout=output, stderr=output, env={**os.environ, **CREDENTIALS})
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def worker(config: Path, *arguments: str) -> list[str]:
    """Return the command of a worker."""
    return [sys.executable, "-m", "worker", "run", "--config", str(config), "--log-level", "INFO", *arguments]


class Double:
    """A provider that runs beside; see `tests.bench.double`."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.port = port

    def requests(self) -> list[list[Any]]:
        """Return every request so far: when it came, when it was answered, for whom, the number in its text."""
        return self._get("/all")

    def count(self) -> int:
        return self._get("/count")

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=60) as response:
            return json.loads(response.read())


@contextmanager
def double(latency_ms: float) -> Iterator[Double]:
    """Run a provider that takes so long, until the block ends."""
    port = free_port()
    words = [sys.executable, "-m", "tests.bench.double", str(port), str(latency_ms)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE)
    process.stdout.readline()
    try:
        yield Double(port)
    finally:
        process.terminate()
        process.wait()


class Bench:
    """Prepares topics, databases and people."""

    def __init__(self, broker: str, pg: postgres.Postgres, folder: Path) -> None:
        self.broker, self.pg, self.folder = broker, pg, folder
        self._count = 0

    @property
    def next(self) -> int:
        """Return the number of the next configuration, for topics of its own."""
        return self._count + 1

    def config(
        self,
        database: str,
        provider: str,
        *,
        routes: str | None = None,
        rates: tuple[float, float] = (1e6, 1e6),
        settings: dict[str, Any] | None = None,
        intakes: dict[str, Any] | None = None,
        accounts: dict[str, Any] | None = None,
    ) -> tuple[Path, str]:
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
        orders = {"name": f"in{self._count}.orders", "start": "earliest", "events": ["order.shipped"], "partitions": 6}
        its = {"kafka": kafka_settings, "lanes": {"transactional": slots}, "intakes": {"normal": {"topics": [orders]}}}
        stage = Stage(
            broker=self.broker, provider=provider, database=url, data=data, embedded=False, max_in_flight=200,
            accounts=accounts or {}, rates=dict(zip(("transactional", "marketing"), rates, strict=True)),
            settings={**its, **(settings or {}), **({"intakes": intakes} if intakes else {})},
        )  # fmt: skip
        folder = write_configuration(builders.SHIPPED, data / "config", stage)
        if routes:
            (folder / "routes.yaml").write_text(routes)
        migrate(url)
        return folder, prefix

    async def people(self, folder: Path, consents: Sequence[str] = ()) -> None:
        """Make topics, and contacts, who agreed to *consents*."""
        settings = load_configuration(folder).settings
        async with open_admin(settings.kafka) as admin:
            await create_topics(admin, settings)
        ring = load_key_ring(settings.key_ring_file, create=True)
        pepper = load_pepper(settings.pepper_file, create=True)
        async with open_database(settings.database) as database:
            projector = Projector(database, People(database, ring), pepper)
            await projector.project([_contact(n) for n in range(CONTACTS)])
            if consents:
                await projector.project([_grant(n, consents) for n in range(CONTACTS)])

    async def events(self, folder: Path, events: int, *, by_phone: bool = False) -> None:
        """Put events on the input topic."""
        settings = load_configuration(folder).settings
        (topic,) = settings.intakes[Intake.NORMAL].topics
        await self.write(
            folder, [outgoing(event(topic.name, n, n % CONTACTS, by_phone=by_phone)) for n in range(events)]
        )

    async def messages(
        self, folder: Path, people: Sequence[int], intake: Intake = Intake.NORMAL, **made: Any
    ) -> list[Outgoing]:
        """Return the records of messages, one for each number of a person, as the router would write them."""
        configuration = load_configuration(folder)
        settings = configuration.settings
        ring = load_key_ring(settings.key_ring_file, create=True)
        pepper = load_pepper(settings.pepper_file, create=True)
        topics = {topic.name: topic for topic in settings.intakes[intake].topics}
        deciding = Deciding(intake, settings.deployment, topics, configuration.table, pepper)
        written: list[Outgoing] = []
        async with open_database(settings.database) as database:
            store = People(database, ring)
            for start in range(0, len(people), 1000):
                numbered = list(enumerate(people))[start : start + 1000]
                reads = [deciding.read(event(next(iter(topics)), n, who, **made)) for n, who in numbered]
                known = await store.load({s for read in reads for s in read.subjects()}, create_keys=True)
                decided = [deciding.decide(read, known) for read in reads]
                messages = [m for one in decided if isinstance(one, Routed) for m in one.messages]
                written += [lane_record(f"{settings.kafka.prefix}.{m.lane}", m) for m in messages]
        return written

    async def write(self, folder: Path, records: Sequence[Outgoing]) -> None:
        """Publish *records*."""
        async with open_sink(make_producer(load_configuration(folder).settings.kafka)) as sink:
            for start in range(0, len(records), 5000):
                await (await sink.enqueue(records[start : start + 5000]))


def event(
    topic: str, number: int, person: int, *, by_phone: bool = False, kind: str = "order.shipped", **changes: Any
) -> Record:
    who = {"phone": phone(person)} if by_phone else {"contact_id": f"c-{person}"}
    data = {**builders.data(kind, who), **changes}
    if kind == "order.shipped":
        data["order_id"] = str(number)
    if kind == "promotion.announced":
        data = {**data, "recipients": [who], "promotion_id": f"p{number}"}
        data.pop("recipient", None)
    return builders.record(
        topic, **builders.binary(kind, data, f"e-{number}", None), offset=number, key=f"c-{person}".encode(),
        timestamp_ms=int(time.time() * 1000),
    )  # fmt: skip


def outgoing(record: Record) -> Outgoing:
    return Outgoing(record.topic, record.key, record.value, record.headers)


def phone(person: int) -> str:
    return f"+336{71000000 + person:08}"


def _contact(number: int) -> Change:
    attributes = {"orders_90d": 5, "city": "Lyon", "interests": ["running"]}
    card = {"contact_id": f"c-{number}", "phone": phone(number), "first_name": "François", "attributes": attributes}
    data = EVENTS["contact.updated"].model_validate(builders.data("contact.updated", **card))
    return Change(data, 1.0, f"u-{number}", builders.record("customers.events", offset=number), "/crm", "{}")


def _grant(number: int, purposes: Sequence[str]) -> Change:
    data = builders.data("consent.granted", {"contact_id": f"c-{number}"}, purposes=list(purposes))
    its = EVENTS["consent.granted"].model_validate(data)
    return Change(its, 2.0, f"g-{number}", builders.record("customers.events", offset=CONTACTS + number), "/crm", "{}")


def note(rows: list[dict[str, Any]], what: str, case: str, who: str, measured: dict[str, Any]) -> None:
    rows.append({"what": what, "case": case, "who": who, **measured})
    print(json.dumps(rows[-1]), file=sys.stderr, flush=True)


def wait_for(done: Any, seconds: float, why: str) -> None:
    """Wait until *done()*, or end the run."""
    ends = time.monotonic() + seconds
    while not done():
        if time.monotonic() > ends:
            sys.exit(f"{why}: not within {seconds:.0f} s")
        time.sleep(0.25)


def sync(work: Any) -> Any:
    return asyncio.run(work)
