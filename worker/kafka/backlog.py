"""How much a group has not finished yet, as nobody's member."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition

from worker.kafka.clients import asking_kafka, connection
from worker.kafka.scanning import partitions_of, scan
from worker.kafka.topics import committed_offsets, open_admin
from worker.records import Record
from worker.settings import KafkaSettings

MOST_PARTITIONS = 200  # of a lane; more of them than processes are of no use


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
        with asking_kafka():
            keys = [TopicPartition(t, n) for t in topics for n in await partitions_of(self._consumer, t)]
            if not keys:
                return 0
            ends, starts = await self._consumer.end_offsets(keys), await self._consumer.beginning_offsets(keys)
            committed = await committed_offsets(self._admin, group, keys)
        return sum(max(0, ends[key] - max(committed.get(key, 0), starts[key])) for key in keys)


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
