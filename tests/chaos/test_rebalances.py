"""Members come, go and are put out every moment: everything is handled, in order by key, and no key twice at once in a process."""

import asyncio
import random
from collections import defaultdict

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.fakes import RememberedPositions
from worker.kafka.clients import make_consumer, make_producer
from worker.kafka.keyed import KeyedRunner
from worker.kafka.sink import open_sink
from worker.kafka.source import Source
from worker.kafka.topics import committed_offset
from worker.records import Outgoing, Record
from worker.servers import KafkaSettings
from worker.settings import LaneSettings

pytestmark = pytest.mark.kafka
RECORDS, KEYS, PARTITIONS = 3_000, 60, 4


class Member:
    """A runner that notes what it was given."""

    def __init__(self, settings: KafkaSettings, handled: list[tuple[bytes, int]], slow_s: float) -> None:
        self.stop = asyncio.Event()
        self.busy: set[bytes] = set()
        self.overlaps: list[bytes] = []
        self.handled, self.slow_s = handled, slow_s

        def make(before_revoke) -> Source:
            return Source(
                "storm",
                make_consumer(settings, "sms-storm", drain_s=1, urgent=False),
                {"in": "earliest"},
                RememberedPositions(),
                before_revoke,
            )

        self.runner = KeyedRunner(make, self.handle, LaneSettings(slots=30), revoke_drain_s=0.2, commit_every_s=0.2)

    async def handle(self, record: Record) -> None:
        if record.key in self.busy:
            self.overlaps.append(record.key)
        self.busy.add(record.key)
        await asyncio.sleep(random.uniform(0, self.slow_s))
        self.handled.append((record.key, int(record.value)))
        self.busy.discard(record.key)

    async def run(self) -> None:
        self.runner.begin()
        await self.runner.run(self.stop, 3)


async def test_members_come_and_go_and_everything_is_handled_in_order_by_key(kafka) -> None:
    """The second time a record is handled is a delivery again; the first times of a key must come in order."""
    await asyncio.to_thread(kafka.forget)
    settings = KafkaSettings(bootstrap_servers=kafka.address, session_timeout_s=6)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    await admin.create_topics([NewTopic("in", PARTITIONS, 1)])
    draw, handled, committed = random.Random(5), list[tuple[bytes, int]](), defaultdict(lambda: -1)
    members: list[tuple[Member, asyncio.Task[None]]] = []
    every: list[Member] = []

    def join() -> None:
        member = Member(settings, handled, slow_s=0.1)
        every.append(member)
        members.append((member, asyncio.create_task(member.run())))

    async def publish() -> None:
        async with open_sink(make_producer(settings)) as sink:
            for start in range(0, RECORDS, 100):
                its = [Outgoing("in", b"k%d" % (n % KEYS), b"%d" % n) for n in range(start, start + 100)]
                await (await sink.enqueue(its))
                await asyncio.sleep(0.4)

    publishing = asyncio.create_task(publish())
    join()
    ends = asyncio.get_running_loop().time() + 60
    while len(set(handled)) < RECORDS and asyncio.get_running_loop().time() < ends:
        if not publishing.done() and len(members) < 4 and draw.random() < 0.5:
            join()
        elif len(members) > 1 and draw.random() < 0.6:
            member, task = members.pop(draw.randrange(len(members)))
            member.stop.set()
            await asyncio.wait({task}, timeout=20)
        await asyncio.sleep(draw.uniform(0.2, 2))
        for partition in range(PARTITIONS):
            offset = await committed_offset(admin, "sms-storm", "in", partition)
            assert (offset or 0) >= committed[partition]
            committed[partition] = offset or 0
    for member, task in members:
        member.stop.set()
        await asyncio.wait({task}, timeout=20)
    await publishing
    await admin.close()

    assert len(set(handled)) == RECORDS
    assert not [key for member in every for key in member.overlaps]
    firsts = defaultdict(list)
    for key, number in dict.fromkeys(handled):
        firsts[key].append(number)
    assert all(numbers == sorted(numbers) for numbers in firsts.values())
    assert len(every) >= 4
