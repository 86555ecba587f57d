"""A whole world to test in: broker, database, sandbox, and a worker in this process or in one of its own."""

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from schemas.messages import Lane
from tests import builders
from worker.app import Duties, Role, Worker, open_worker
from worker.demo.configuring import CREDENTIALS, Stage, write_configuration
from worker.demo.processes import open_process
from worker.kafka.topics import create_topics, open_admin
from worker.records import Record
from worker.routing.loading import load_configuration
from worker.sandbox.provider import Behaviour, SandboxProvider
from worker.sandbox.server import open_sandbox
from worker.environment import load_settings

TOPIC_OF = {
    "contact": "customers.events", "consent": "customers.events", "order": "orders.events", "otp": "identity.events",
    "account": "identity.events", "appointment": "appointments.events", "cart": "marketing.events",
    "promotion": "marketing.events", "event": "marketing.events", "payment": "billing.json",
}  # fmt: skip
TERMINAL = {"accepted", "suppressed", "superseded", "expired", "rejected", "unknown"}


class World:
    """Publishes, reads what came of it, and knows what the provider was asked."""

    def __init__(self, folder: Path, stage: Stage, provider: SandboxProvider) -> None:
        self.folder, self.stage, self.provider = folder, stage, provider
        self.config = write_configuration(builders.SHIPPED, folder / "config", stage)
        self.log = folder / "worker.log"
        self._count = 0
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        settings = load_settings(self.config / "worker.yaml")
        async with open_admin(settings.kafka) as admin:
            await create_topics(admin, settings)
        self._producer = AIOKafkaProducer(bootstrap_servers=self.stage.broker, acks="all", enable_idempotence=False)
        await self._producer.start()

    async def stop(self) -> None:
        if self._producer is not None:
            await self._producer.stop()

    async def publish(
        self, event_type: str, recipient: dict[str, Any] | None = None, *, event_id: str | None = None, **changes: Any
    ) -> str:
        """Publish an event in binary mode; return its id."""
        self._count += 1
        event_id = event_id or f"e-{self._count}"
        now = None if "time" not in changes else changes.pop("time")
        its = builders.binary(event_type, builders.data(event_type, recipient, **changes), event_id, now)
        key = json.dumps(recipient or {"contact_id": "c-1"}).encode()
        await self.send(TOPIC_OF[event_type.split(".")[0]], its["value"], its["headers"], key)
        return event_id

    async def send(
        self, topic: str, value: bytes | None, headers: Sequence[tuple[str, bytes]] = (), key: bytes | None = None
    ) -> None:
        await (await self._producer.send(topic, value, key=key, headers=list(headers)))

    async def people(
        self, count: int, *, consents: Iterable[str] = ("offers", "cart_reminders", "invitations")
    ) -> None:
        """Make contacts c-0 to c-(count-1) who agreed to *consents*."""
        purposes = list(consents)
        for number in range(count):
            who = {"contact_id": f"c-{number}"}
            card = {
                "contact_id": f"c-{number}",
                "phone": f"+336{71000000 + number:08}",
                "attributes": {"orders_90d": 3},
            }
            await self.publish("contact.updated", who, **card)
            if purposes:
                await self.publish("consent.granted", who, purposes=purposes)

    @asynccontextmanager
    async def worker(
        self, roles: Sequence[Role] = tuple(Role), lanes: Sequence[Lane] = tuple(Lane)
    ) -> AsyncIterator[Worker]:
        """Run a worker in this process until the block ends."""
        with _environment(CREDENTIALS):
            configuration = load_configuration(self.config)
            stop = asyncio.Event()
            async with open_worker(configuration, Duties(roles=roles, lanes=lanes)) as worker:
                running = asyncio.create_task(worker.run(stop))
                try:
                    yield worker
                finally:
                    stop.set()
                    await asyncio.wait_for(running, 40)

    @asynccontextmanager
    async def process(self, *arguments: str, code: Path = builders.ROOT) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run a worker in a process of its own until the block ends; its log is appended. *code* may be another version."""
        with self.log.open("ab") as log:
            said = self.log.stat().st_size
            python = [
                "env",
                "-C",
                code,
                sys.executable,
                "-m",
            ]  # where it runs comes first of where it looks for modules
            command = [*python, "worker", "run", "--config", self.config.absolute(), *arguments]
            async with open_process(command, environment={**CREDENTIALS}, output=log) as process:
                for _ in range(900):
                    if b"worker.running" in self.log.read_bytes()[said:] or process.returncode is not None:
                        break
                    await asyncio.sleep(0.05)
                assert process.returncode is None, self.log.read_text()[-3000:]
                yield process

    async def command(
        self, *arguments: str, expect: int = 0, said: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command of the worker on this world's configuration; *said* is its standard input."""
        environment = {**os.environ, **CREDENTIALS, "SMS_WORKER_CONFIG": str(self.config)}
        command = [sys.executable, "-m", "worker", *arguments]
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=120, env=environment, input=said
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done

    def port(self) -> int:
        """Health and metrics of the last process."""
        return int(re.findall(r'"port":(\d+)', self.log.read_text())[-1])

    async def metrics(self) -> str:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.port()}/metrics") as response,
        ):
            return await response.text()

    async def read(self, topic: str, until, seconds: float = 60) -> list[Record]:
        """Read a topic from its beginning until *until* says that is enough, or the time is over."""
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=self.stage.broker, auto_offset_reset="earliest", fetch_max_wait_ms=50
        )
        await consumer.start()
        found: list[Record] = []
        try:
            ends = time.monotonic() + seconds
            while time.monotonic() < ends and not until(found):
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    for r in batch:
                        found.append(
                            Record(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, tuple(r.headers))
                        )
        finally:
            await consumer.stop()
        return found

    async def outcomes(self, messages: int, seconds: float = 60) -> dict[str, list[dict[str, Any]]]:
        """Wait until *messages* messages have a terminal outcome; return every outcome by message id."""

        def enough(records: list[Record]) -> bool:
            ended = {d["message_id"] for r in records if (d := json.loads(r.value)["data"])["outcome"] in TERMINAL}
            return len(ended) >= messages

        by_message = defaultdict(list)
        for record in await self.read("sms.outcomes", enough, seconds):
            data = json.loads(record.value)["data"]
            if "message_id" in data:
                by_message[data["message_id"]].append(data)
        return by_message


@contextlib.contextmanager
def _environment(variables: dict[str, str]):
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@asynccontextmanager
async def open_world(
    folder: Path, broker: str, database: str, *, behaviour: Behaviour | None = None, **stage: Any
) -> AsyncIterator[World]:
    """Open a sandbox and the topics; the broker and the database are handed in."""
    provider = SandboxProvider(behaviour)
    async with open_sandbox(provider, "127.0.0.1", 0) as port:
        its = Stage(broker=broker, provider=f"http://127.0.0.1:{port}", database=database, data=folder, **stage)
        world = World(folder, its, provider)
        await world.start()
        try:
            yield world
        finally:
            await world.stop()


def terminal(outcomes: dict[str, list[dict[str, Any]]]) -> dict[str, set[str]]:
    """Return the terminal outcomes of each message; right is one."""
    return {
        message: {each["outcome"] for each in its if each["outcome"] in TERMINAL} for message, its in outcomes.items()
    }
