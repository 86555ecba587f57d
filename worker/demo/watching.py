"""What the demo sees: outcomes on the results topic, the worker's own counts, and the phones."""

import asyncio
import re
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
from aiokafka import AIOKafkaConsumer

METRIC = re.compile(r"^(sms_\w+?)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="([^"]*)"')
TERMINAL = ("accepted", "suppressed", "superseded", "expired", "rejected", "unknown")


@dataclass
class Seen:
    """
    What has been seen so far.

    Attributes:
        outcomes: By category, outcome and reason, each message once; one that was deferred stands there too.
        became: Records by what became of them, as the worker counts.
        until_morning: Offers that wait for the recipient's own morning: longer than anybody watches.
        texts: The last texts, as phones show them.
    """

    outcomes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    messages: dict[str, str] = field(default_factory=dict)
    became: Counter[str] = field(default_factory=Counter)
    records_read: int = 0
    messages_routed: int = 0
    messages_read: int = 0
    concluded: Counter[str] = field(default_factory=Counter)
    lane_letters: int = 0
    until_morning: int = 0
    texts: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=6))
    provider: dict[str, Any] = field(default_factory=dict)
    cost: float = 0.0

    @property
    def waiting(self) -> int:
        """Messages routed and not ended."""
        return self.messages_routed - sum(self.concluded.values()) - self.lane_letters

    def note(self, outcome: dict[str, Any]) -> None:
        """Take in a record of the results topic."""
        data = outcome["data"]
        key = data.get("message_id") or outcome["id"]
        if self.messages.get(key, "deferred") != "deferred" or self.messages.get(key) == data["outcome"]:
            return
        self.messages[key] = data["outcome"]
        self.outcomes[data.get("category", "event"), data["outcome"], data.get("reason", "")] += 1
        self.cost += data.get("cost", 0.0)


async def watch_outcomes(address: str, topic: str, seen: Seen) -> None:
    """Read the results topic for ever."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=address, auto_offset_reset="earliest", fetch_max_wait_ms=50)
    await consumer.start()
    try:
        while True:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    seen.note(orjson.loads(record.value))
    finally:
        await consumer.stop()


async def watch_http(worker: str, sandbox: str, seen: Seen) -> None:
    """Look at the worker's metrics and at the phones twice a second, for ever."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(f"{worker}/metrics") as response:
                    read_metrics(await response.text(), seen)
                async with session.get(f"{sandbox}/sandbox/summary") as response:
                    seen.provider = await response.json()
                async with session.get(f"{sandbox}/sandbox/texts?last=6") as response:
                    seen.texts.extend(text for text in await response.json() if text not in seen.texts)
            await asyncio.sleep(0.5)


def read_metrics(text: str, seen: Seen) -> None:
    """Take in the worker's counts."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for line in text.splitlines():
        if match := METRIC.match(line):
            found.setdefault(match[1], []).append((dict(LABEL.findall(match[2] or "")), float(match[3])))

    def total(name: str, label: str) -> Counter[str]:
        counts: Counter[str] = Counter()
        for labels, value in found.get(name, ()):
            counts[labels[label]] += int(value)
        return counts

    seen.became = total("sms_records_total", "became")
    seen.records_read = total("sms_records_read_total", "intake").total()
    seen.messages_routed = total("sms_messages_routed_total", "lane").total()
    seen.messages_read = total("sms_messages_read_total", "lane").total()
    told = total("sms_outcomes_total", "outcome")
    seen.concluded = Counter({kind: told[kind] for kind in TERMINAL if told[kind]})
    seen.until_morning = total("sms_messages_waiting", "reason")["outside_hours"]
    letters = total("sms_dead_letters_total", "stage")
    seen.lane_letters = letters.total() - letters["router"]
