"""Stand-ins for what a test must steer: time, and a world that misbehaves."""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta

from tests.builders import NOW
from worker.records import Outgoing, Partition, Position


class ManualClock:
    """A clock that stands still until told otherwise; sleeping moves it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        await asyncio.sleep(0)


class MemoryWriter:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.records: list[Outgoing] = []

    async def enqueue(self, records: Iterable[Outgoing]) -> "asyncio.Future[None]":
        self.records += records
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    async def publish(self, outgoing: Outgoing) -> None:
        self.records.append(outgoing)

    def on(self, topic: str) -> list[Outgoing]:
        return [record for record in self.records if record.topic == topic]


class RememberedPositions:
    """What the deployment remembers of its partitions, in memory."""

    def __init__(self) -> None:
        self.known: dict[Partition, Position] = {}

    async def load(self, topics: Collection[str]) -> dict[Partition, Position]:
        return {place: position for place, position in self.known.items() if place[0] in topics}

    async def first_seen(self, positions: Mapping[Partition, Position]) -> None:
        self.known = {**positions, **self.known}

    async def reached(self, positions: Mapping[Partition, Position]) -> None:
        self.known |= positions
