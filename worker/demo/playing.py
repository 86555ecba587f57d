"""The play: opens the servers, publishes the day, and watches until everything has ended."""

import asyncio
import re
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiokafka import AIOKafkaProducer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from worker.demo.broker import open_broker, wait_for_port
from worker.demo.configuring import CREDENTIALS, OPEN, Stage, write_configuration
from worker.demo.processes import open_process
from worker.demo.shop import Published, Shop
from worker.demo.showing import Screen, summary
from worker.demo.watching import Seen, watch_http, watch_outcomes
from worker.environment import load_settings
from worker.errors import BrokerUnavailable
from worker.kafka.topics import create_topics, open_admin

# Slow enough for offers to wait while somebody withdraws; the whole takes about a minute.
RATES = {"transactional": 30.0, "marketing": 3.0}
DEADLINE_S = 110.0
RUNNING = re.compile(rb'"port":\s*(\d+).*"event":\s*"worker.running"|"event":\s*"worker.running".*"port":\s*(\d+)')


@dataclass(frozen=True)
class Theatre:
    """Addresses of what runs."""

    broker: str
    sandbox: str
    worker: str


@asynccontextmanager
async def open_theatre(shipped: Path, folder: Path) -> AsyncIterator[Theatre]:
    """Run broker, sandbox and worker, each a process, until the block ends."""
    command: list[str | Path] = [sys.executable, "-m", "worker"]
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(open_broker())
        log = stack.enter_context((folder / "sandbox.log").open("wb"))
        process = await stack.enter_async_context(open_process([*command, "sandbox", "--port", "0"], output=log))
        said = re.compile(rb"(http://\S+?)/?\n")
        sandbox = (await _until_said(folder / "sandbox.log", said, process)).decode()
        await wait_for_port(sandbox.removeprefix("http://"), process)
        config = write_configuration(shipped, folder / "config", _stage(broker, sandbox, folder))
        settings = load_settings(config / "worker.yaml")
        async with open_admin(settings.kafka) as admin:
            await create_topics(admin, settings)
        log = stack.enter_context((folder / "worker.log").open("wb"))
        run = open_process([*command, "run", "--config", config], environment=CREDENTIALS, output=log)
        process = await stack.enter_async_context(run)
        port = await _until_said(folder / "worker.log", RUNNING, process)
        yield Theatre(broker, sandbox, f"http://127.0.0.1:{port.decode()}")


def _stage(broker: str, sandbox: str, folder: Path) -> Stage:
    database = f"sqlite+aiosqlite:///{folder}/state.db"
    accounts = {"http_deadline_s": 3}
    policy = {"hours": OPEN}
    return Stage(
        broker=broker, provider=sandbox, database=database, data=folder, rates=RATES, accounts=accounts, policy=policy
    )


async def _until_said(log: Path, what: re.Pattern[bytes], process: asyncio.subprocess.Process) -> bytes:
    """Return what a process says in its log, once it has."""
    for _ in range(600):
        if found := what.search(log.read_bytes()):
            return next(group for group in found.groups() if group)
        if process.returncode is not None:
            break
        await asyncio.sleep(0.05)
    raise BrokerUnavailable(f"a part of the demo did not start; see {log}")


async def play(shipped: Path, folder: Path, console: Console) -> bool:
    """Play the day in *folder*, which is empty; return whether everything added up."""
    shop, seen, began = Shop(), Seen(), time.monotonic()
    acts = [
        ("morning: who the customers are, and what they agreed to", list(shop.morning()), 4.0),
        ("a campaign: offers wait for the marketing account's rate", list(shop.campaign()), 1.0),
        ("the day: orders, codes, appointments", list(shop.day()), 10.0),
        ("some change their mind: what still waits for them is silenced", list(shop.changes_of_mind()), 1.0),
        ("the afternoon", [*shop.day(orders=20), *shop.unwanted()], 8.0),
    ]
    events = sum(len(its) for _, its, _ in acts)
    screen = Screen(seen, events)
    with Live(screen, console=console, refresh_per_second=4, transient=True) as live:
        async with open_theatre(shipped, folder) as theatre, asyncio.TaskGroup() as watchers:
            watching = [
                watchers.create_task(watch_outcomes(theatre.broker, "sms.outcomes", seen), name="outcomes"),
                watchers.create_task(watch_http(theatre.worker, theatre.sandbox, seen), name="http"),
            ]
            await _publish(theatre.broker, acts, screen, console)
            screen.act = "waiting for the last offers: the marketing account lets three segments a second through"
            await _wait_for_the_end(seen, events, began + DEADLINE_S)
            for task in watching:
                task.cancel()
        live.update(Text(""), refresh=True)  # a frame that is taller than the terminal would stay otherwise
    return summary(console, seen, events, str(folder), time.monotonic() - began)


async def _publish(
    broker: str, acts: Iterable[tuple[str, list[Published], float]], screen: Screen, console: Console
) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker, acks="all")
    await producer.start()
    count = 0
    try:
        for title, events, seconds in acts:
            screen.act = title
            if not console.is_terminal:
                console.print(title)
            for event in events:
                await producer.send(event.topic, event.value, key=event.key.encode(), headers=event.headers)
                await asyncio.sleep(seconds / len(events))
                count += 1
                screen.published(count)
            await producer.flush()
            await asyncio.sleep(1)
    finally:
        await producer.stop()


async def _wait_for_the_end(seen: Seen, events: int, deadline: float) -> None:
    """Wait until every event is handled and every message has ended, twice in a row; or until the deadline."""
    quiet = 0
    while quiet < 2 and time.monotonic() < deadline:
        await asyncio.sleep(0.6)
        done = (
            seen.records_read >= events
            and seen.messages_routed <= seen.messages_read
            and seen.waiting == seen.until_morning
        )
        ended = sum(seen.concluded.values()) + seen.lane_letters
        quiet = quiet + 1 if done and ended > 0 else 0
