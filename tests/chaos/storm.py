"""
A storm: workers, broker, database and provider are killed, frozen, stopped and rebalanced while events flow; then accounts.

    python -m tests.chaos [--events 100000] [--seconds 420] [--seed 1] [--keyless]
"""

import asyncio
import json
import random
import signal
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition
from rich.console import Console

from tests import builders, kafka, postgres
from tests.chaos.accounts import Accounts, account_for
from worker.demo.broker import free_port
from worker.demo.configuring import CREDENTIALS, Stage, write_configuration
from worker.demo.processes import open_process
from worker.environment import load_settings
from worker.kafka.clients import make_producer
from worker.kafka.sink import Sink, open_sink
from worker.kafka.topics import create_topics, open_admin, wanted_topics
from worker.records import Outgoing
from worker.state.schema import migrate

PEOPLE = 600
HTTP_DEADLINE_S, LEASE_S = 2.0, 14.0
# How often each comes, one to another; "freeze" is longer than the lease and the session.
FAULTS = {
    "kill worker": 6,
    "freeze worker": 2,
    "add and kill": 3,
    "stop worker": 2,
    "broker": 2,
    "database": 3,
    "provider": 4,
}
EXPECTED_EXITS = {0, -signal.SIGKILL, -signal.SIGTERM}  # the last: before it could look at signals
PROVIDER_MODES = ("refuse", "hang", "lose", "slow")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a storm is."""

    events: int
    seconds: float
    seed: int = 1
    workers: int = 3
    keyed: bool = True
    faults: int | None = None
    settle_s: float = 240.0


@dataclass
class Fault:
    """Something that was done: when it began, and when the world was as before."""

    kind: str
    began: float
    ended: float = 0.0


@dataclass
class Weather:
    """What the storm has done and seen so far."""

    faults: list[Fault] = field(default_factory=list)
    published: int = 0
    outcomes: dict[str, list[str]] = field(default_factory=dict)
    exits: Counter[int] = field(default_factory=Counter)
    last_words: list[str] = field(default_factory=list)
    went_back: list[str] = field(default_factory=list)
    act: str = "starting"

    def ended(self) -> int:
        return sum(any(kind not in ("deferred", "dead_lettered") for kind in its) for its in self.outcomes.values())


class Worker:
    """A worker that is started again when it ends."""

    def __init__(self, name: str, config: Path, folder: Path, weather: Weather) -> None:
        self.name, self._config, self._folder, self._weather = name, config, folder, weather
        self.process: asyncio.subprocess.Process | None = None
        self.wanted = True
        self._stopping: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        """Keep it running while it is wanted."""
        command = [sys.executable, "-m", "worker", "run", "--config", self._config, "--log-level", "WARNING"]
        with (self._folder / f"{self.name}.log").open("ab") as log:
            while self.wanted:
                async with open_process(command, environment=CREDENTIALS, output=log, patience_s=40) as process:
                    self.process = process
                    code = await process.wait()
                    self._weather.exits[code] += 1
                if code not in EXPECTED_EXITS:
                    self._weather.last_words.append(f"{self.name} ended with {code}:\n{self._tail()}")
                await asyncio.sleep(0.5)

    def _tail(self) -> str:
        return "\n".join((self._folder / f"{self.name}.log").read_text(errors="replace").splitlines()[-12:])

    def signal(self, number: int) -> None:
        if self.process is not None and self.process.returncode is None:
            if number == signal.SIGTERM and self._stopping is self.process:
                return  # a second one ends it at once, as it should
            if number == signal.SIGTERM:
                self._stopping = self.process
            with suppress(ProcessLookupError):
                self.process.send_signal(number)


class Storm:
    """Servers, workers, and what happens to them."""

    def __init__(self, plan: Plan, folder: Path, broker: kafka.Kafka, pg: postgres.Postgres, console: Console) -> None:
        self.plan, self.folder, self.broker, self.pg, self.console = plan, folder, broker, pg, console
        self.random = random.Random(plan.seed)
        self.weather = Weather()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.workers: list[Worker] = []

    async def run(self) -> Accounts:
        """Let it rage; return the accounts."""
        async with AsyncExitStack() as stack:
            keyed = "keyed" if self.plan.keyed else "keyless"
            command = [sys.executable, "-m", "tests.chaos.provider", str(self.port), "15", keyed]
            await stack.enter_async_context(open_process(command, patience_s=2))
            config = await self._configure()
            settings = load_settings(config / "worker.yaml")
            sink = await stack.enter_async_context(open_sink(make_producer(settings.kafka)))
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            self.workers = [Worker(f"worker-{n}", config, self.folder, self.weather) for n in range(self.plan.workers)]
            await self._people(sink)
            running = [tasks.create_task(worker.run()) for worker in self.workers]
            watching = [tasks.create_task(watch()) for watch in (self._watch_outcomes, self._watch_commits, self._tell)]
            publishing = tasks.create_task(self._publish(sink))
            await self._rage(config, tasks)
            await publishing
            await self._settle()
            for worker in self.workers:
                worker.wanted = False
                worker.signal(signal.SIGTERM)
            await asyncio.wait(running, timeout=60)
            for task in (*running, *watching):
                task.cancel()
            remembered = await self._remembered()
        return account_for(self.plan, self.weather, remembered)

    async def _configure(self) -> Path:
        url = self.pg.new_database()
        await asyncio.to_thread(migrate, url)
        life_h = 24 if self.plan.keyed else 0
        stage = Stage(
            broker=self.broker.address, provider=self.url, database=url, data=self.folder, embedded=False, max_in_flight=60,
            rates={"transactional": 2000.0, "marketing": 2000.0},
            accounts={"http_deadline_s": HTTP_DEADLINE_S, "idempotency_h": life_h},
            settings={
                "lanes": {"urgent": {"slots": 20, "partitions": 6}, "transactional": {"slots": 40, "partitions": 6}, "marketing": {"slots": 10, "partitions": 3}},
                "database": {"url": url, "pool": 10, "statement_timeout_s": 5},
                "drain_s": 5,
            },
        )  # fmt: skip
        config = write_configuration(builders.SHIPPED, self.folder / "config", stage)
        settings = load_settings(config / "worker.yaml")
        async with open_admin(settings.kafka) as admin:
            await create_topics(admin, settings)
        return config

    async def _people(self, sink: Sink) -> None:
        records = []
        for number in range(PEOPLE):
            card = builders.data(
                "contact.updated", contact_id=f"c-{number}", phone=phone(number), attributes={"orders_90d": 5}
            )
            records.append(event("customers.events", "contact.updated", card, f"u-{number}", f"c-{number}"))
            grant = builders.data("consent.granted", {"contact_id": f"c-{number}"}, purposes=["offers"])
            records.append(event("customers.events", "consent.granted", grant, f"g-{number}", f"c-{number}"))
        await (await sink.enqueue(records))

    async def _publish(self, sink: Sink) -> None:
        """Publish at a steady rate, now and then an event twice, as careful emitters do after a time-out."""
        began, draw = time.monotonic(), random.Random(self.plan.seed + 1)
        while self.weather.published < self.plan.events:
            due = min(self.plan.events, int((time.monotonic() - began) / self.plan.seconds * self.plan.events) + 1)
            records = []
            for number in range(self.weather.published, due):
                records.append(make_event(number, draw))
                if draw.random() < 0.02:
                    records.append(records[-1])
            if records:
                await (await sink.enqueue(records))
            self.weather.published = max(self.weather.published, due)
            await asyncio.sleep(0.1)

    async def _rage(self, config: Path, tasks: asyncio.TaskGroup) -> None:
        count = self.plan.faults or max(4, int(self.plan.seconds / 12))
        kinds = self.random.choices(list(FAULTS), weights=list(FAULTS.values()), k=count)
        kinds[: len(FAULTS)] = self.random.sample(list(FAULTS), k=min(len(FAULTS), count))  # each at least once
        await asyncio.sleep(8)
        began = time.monotonic()
        for number, kind in enumerate(kinds):
            await asyncio.sleep(max(0.5, began + number * (self.plan.seconds - 15) / count - time.monotonic()))
            fault = Fault(kind, time.time())
            self.weather.act = kind
            await getattr(self, "_" + kind.replace(" ", "_"))(config, tasks)
            fault.ended = time.time()
            self.weather.faults.append(fault)

    def _one(self) -> Worker:
        return self.random.choice(self.workers)

    async def _kill_worker(self, *_) -> None:
        self._one().signal(signal.SIGKILL)

    async def _stop_worker(self, *_) -> None:
        self._one().signal(signal.SIGTERM)

    async def _freeze_worker(self, *_) -> None:
        worker = self._one()
        worker.signal(signal.SIGSTOP)
        await asyncio.sleep(LEASE_S + 3)
        worker.signal(signal.SIGCONT)

    async def _add_and_kill(self, config: Path, tasks: asyncio.TaskGroup) -> None:
        guest = Worker(f"guest-{time.time():.0f}", config, self.folder, self.weather)
        running = tasks.create_task(guest.run())
        await asyncio.sleep(self.random.uniform(4, 8))
        guest.wanted = False
        guest.signal(self.random.choice([signal.SIGKILL, signal.SIGTERM]))
        await asyncio.wait({running}, timeout=40)

    async def _broker(self, *_) -> None:
        await asyncio.to_thread(self.broker.stop, self.random.choice([signal.SIGTERM, signal.SIGKILL]))
        await asyncio.sleep(self.random.uniform(1, 5))
        await asyncio.to_thread(self.broker.start)

    async def _database(self, *_) -> None:
        await asyncio.to_thread(self.pg.stop, self.random.choice(["fast", "immediate"]))
        await asyncio.sleep(self.random.uniform(0.5, 5))
        await asyncio.to_thread(self.pg.start)

    async def _provider(self, *_) -> None:
        await self._control("/mode", self.random.choice(PROVIDER_MODES))
        await asyncio.sleep(self.random.uniform(2, 6))
        await self._control("/mode", "fine")

    async def _control(self, path: str, body: str = "") -> bytes:
        async with aiohttp.ClientSession() as session, session.post(self.url + path, data=body) as response:
            return await response.read()

    async def _remembered(self) -> dict:
        return json.loads(await self._control("/all"))

    async def _settle(self) -> None:
        """Wait until every message has ended, or nothing new has for a while."""
        self.weather.act = "waiting for the last messages"
        ends = time.monotonic() + self.plan.settle_s
        while time.monotonic() < ends and self.weather.ended() < self.plan.events:
            await asyncio.sleep(0.5)
        await asyncio.sleep(2)

    async def _watch_outcomes(self) -> None:
        consumer = AIOKafkaConsumer("sms.outcomes", bootstrap_servers=self.broker.address, auto_offset_reset="earliest")
        await consumer.start()
        try:
            while True:
                for records in (await consumer.getmany(timeout_ms=300)).values():
                    for record in records:
                        data = json.loads(record.value)["data"]
                        if "message_id" in data:
                            self.weather.outcomes.setdefault(data["message_id"], []).append(data["outcome"])
        finally:
            await consumer.stop()

    async def _watch_commits(self) -> None:
        """Commits of a group never go back."""
        settings = load_settings(self.folder / "config" / "worker.yaml")
        groups = {f"sms.{lane}": f"sms-sender-{lane}" for lane in ("urgent", "transactional", "marketing")}
        groups |= {
            topic.name: f"sms-router-{intake}" for intake, its in settings.intakes.items() for topic in its.topics
        }
        partitions = {topic.name: topic.partitions for topic in wanted_topics(settings)}
        highest: dict[TopicPartition, int] = {}
        while True:
            await asyncio.sleep(2)
            with suppress(Exception):  # while the broker is away nobody knows
                async with open_admin(settings.kafka) as admin:
                    for topic, group in groups.items():
                        keys = [TopicPartition(topic, n) for n in range(partitions[topic])]
                        for key, its in (await admin.list_consumer_group_offsets(group, partitions=keys)).items():
                            if its.offset < highest.get(key, -1):
                                self.weather.went_back.append(
                                    f"{group} {key.topic}/{key.partition}: {highest[key]} -> {its.offset}"
                                )
                            highest[key] = max(its.offset, highest.get(key, -1))

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(5)
            weather = self.weather
            self.console.print(
                f"{weather.published:>7} published  {weather.ended():>7} ended  {len(weather.faults):>3} faults  now: {weather.act}"
            )


def phone(number: int) -> str:
    return f"+336{71000000 + number:08}"


def event(topic: str, event_type: str, data: dict, event_id: str, key: str) -> Outgoing:
    its = builders.binary(event_type, data, event_id, None)
    return Outgoing(topic, key.encode(), its["value"], its["headers"])


def make_event(number: int, draw: random.Random) -> Outgoing:
    """An order to a contact, a code to a number, or an offer; each carries its number, so that the order shows in the texts."""
    person, kind = draw.randrange(PEOPLE), draw.random()
    key = f"c-{person}"
    if kind < 0.1:
        data = builders.data("otp.requested", {"phone": phone(person)}, code=f"{number:06}")
        return event("identity.events", "otp.requested", data, f"e-{number}", key)
    if kind < 0.13:
        who = [{"contact_id": key}]
        data = {**builders.DATA["promotion.announced"], "recipients": who, "promotion_id": f"p{number}"}
        return event("marketing.events", "promotion.announced", data, f"e-{number}", key)
    data = builders.data("order.shipped", {"contact_id": key}, order_id=str(number))
    return event("orders.events", "order.shipped", data, f"e-{number}", key)
