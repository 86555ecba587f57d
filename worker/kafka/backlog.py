"""How much a group has not finished yet, as nobody's member."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition

from worker.kafka.clients import asking_kafka, connection
from worker.kafka.scanning import partitions_of, scan
from worker.kafka.topics import committed_offsets, open_admin
from worker.records import Place, Record
from worker.servers import KafkaSettings

MOST_PARTITIONS = 200  # of a lane; more of them than processes are of no use


@dataclass(frozen=True, slots=True)
class Behind:
    """
    How far a group is behind.

    Attributes:
        records: Not committed yet.
        ends: The ends of the topics' partitions, added up: what it grows by was written, less *records* it was finished.
        kept: Records that the topics hold, committed or not.
        starts: The first offset that each partition has.
        oldest: Where the partition that is furthest behind goes on; None if none is.
    """

    records: int
    ends: int
    kept: int
    starts: Mapping[tuple[str, int], int]
    oldest: Place | None


class Backlog:
    """Asks the broker; opened by `open_backlog`."""

    def __init__(self, admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer) -> None:
        self._admin = admin
        self._consumer = consumer

    async def of(self, group: str, topics: Collection[str]) -> int:
        """
        Return how many offsets of *topics* are past what *group* has committed; all of a topic that it never read.

        Raises:
            BrokerUnavailable: Kafka does not answer.
        """
        return (await self.look(group, topics)).records

    async def look(self, group: str | None, topics: Collection[str]) -> Behind:
        """
        Return how far *group* is behind; without a group, how much *topics* hold.

        Raises:
            BrokerUnavailable: Kafka does not answer.
        """
        with asking_kafka():
            keys = [TopicPartition(t, n) for t in topics for n in await partitions_of(self._consumer, t)]
            if not keys:
                return Behind(0, 0, 0, {}, None)
            ends, starts = await self._consumer.end_offsets(keys), await self._consumer.beginning_offsets(keys)
            committed = await committed_offsets(self._admin, group, keys) if group is not None else ends
        begins = {key: max(committed.get(key, 0), starts[key]) for key in keys}
        lag = {key: max(0, ends[key] - begins[key]) for key in keys}
        last = max(keys, key=lag.__getitem__)
        oldest = Place(last.topic, last.partition, begins[last]) if lag[last] else None
        kept = sum(ends[key] - starts[key] for key in keys)
        first = {(key.topic, key.partition): starts[key] for key in keys}
        return Behind(sum(lag.values()), sum(ends[key] for key in keys), kept, first, oldest)


async def unfinished(settings: KafkaSettings, groups: Mapping[str, str]) -> AsyncIterator[Record]:
    """
    Yield the records of topics that their groups have not committed yet; some of them are done all the same.

    Args:
        settings: Where Kafka is.
        groups: By topic.

    Raises:
        BrokerUnavailable: Kafka does not answer to the end.
    """
    finished: dict[TopicPartition, int] = {}
    async with open_admin(settings) as admin:
        for topic, group in groups.items():
            keys = [TopicPartition(topic, number) for number in range(MOST_PARTITIONS)]
            finished |= await committed_offsets(admin, group, keys)
    async for record in scan(settings, list(groups), finished=finished):
        yield record


@asynccontextmanager
async def open_backlog(settings: KafkaSettings) -> AsyncIterator[Backlog]:
    """
    Connect, until the block ends.

    Raises:
        BrokerUnavailable: Kafka does not answer.
    """
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(open_admin(settings))
        consumer = AIOKafkaConsumer(**connection(settings))
        stack.push_async_callback(consumer.stop)
        with asking_kafka():
            await consumer.start()
            await asyncio.sleep(0)  # stopped before its tasks have begun, the client raises CancelledError
        yield Backlog(admin, consumer)
