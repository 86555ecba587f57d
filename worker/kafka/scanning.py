"""Read topics from some time to their present end, as nobody's consumer; and single records where they are."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import datetime

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from worker.errors import BrokerUnavailable
from worker.kafka.clients import connection
from worker.kafka.unreadable import as_record
from worker.records import Place, Record
from worker.settings import KafkaSettings

READ_S, QUIET_POLLS = 10.0, 20


@asynccontextmanager
async def _reader(settings: KafkaSettings) -> AsyncIterator[AIOKafkaConsumer]:
    isolation = "read_uncommitted" if settings.embedded else "read_committed"
    consumer = AIOKafkaConsumer(**connection(settings), auto_offset_reset="none", isolation_level=isolation)
    try:
        await consumer.start()
        yield consumer
    except KafkaError as error:
        raise BrokerUnavailable(f"Kafka does not answer: {type(error).__name__}") from error
    finally:
        await consumer.stop()


async def scan(
    settings: KafkaSettings, topics: Collection[str], since: datetime | None = None
) -> AsyncIterator[Record]:
    """
    Yield the records of *topics* up to their ends as they are now, partition by partition in order.

    Args:
        settings: Where Kafka is.
        topics: Those that do not exist are left out.
        since: Only records of that time or later, by the records' own times.

    Raises:
        BrokerUnavailable: Kafka does not answer.
    """
    async with _reader(settings) as consumer:
        there = await consumer.topics()
        keys = [
            TopicPartition(topic, partition)
            for topic in topics
            if topic in there
            for partition in sorted(consumer.partitions_for_topic(topic) or await _partitions(consumer, topic))
        ]
        if not keys:
            return
        consumer.assign(keys)
        ends, starts = await consumer.end_offsets(keys), await consumer.beginning_offsets(keys)
        if since is not None:
            found = await consumer.offsets_for_times({key: int(since.timestamp() * 1000) for key in keys})
            starts = {key: found[key].offset if found.get(key) else ends[key] for key in keys}
        for key in keys:
            consumer.seek(key, starts[key])
        if settings.embedded:
            ends = await _fetched_ends(consumer, ends)
        for key in keys:
            async for record in _up_to(consumer, key, ends[key]):
                yield record


async def _fetched_ends(consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """Return the ends as fetches tell them: asked for them, the embedded broker may leave out the last record."""
    places = {key: await consumer.position(key) for key in ends}
    for _ in range(QUIET_POLLS):
        if all(consumer.highwater(key) is not None for key in ends):
            break
        await consumer.getmany(timeout_ms=50)
    for key, place in places.items():
        consumer.seek(key, place)
    return {key: max(end, consumer.highwater(key) or 0) for key, end in ends.items()}


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    await consumer._client._wait_on_metadata(topic)  # noqa: SLF001  the client asks only for topics it is told of
    found: set[int] = consumer.partitions_for_topic(topic) or set()
    return found


async def _up_to(consumer: AIOKafkaConsumer, key: TopicPartition, end: int) -> AsyncIterator[Record]:
    quiet = 0
    while await consumer.position(key) < end and quiet < QUIET_POLLS:
        batch = (await consumer.getmany(key, timeout_ms=500, max_records=500)).get(key, [])
        quiet = 0 if batch else quiet + 1
        for polled in batch:
            if polled.offset >= end:
                return
            yield as_record(polled)


async def fetch_records(settings: KafkaSettings, places: Collection[Place]) -> dict[Place, Record]:
    """
    Return the records at *places*, those that are still there.

    Raises:
        BrokerUnavailable: Kafka does not answer.
    """
    found: dict[Place, Record] = {}
    if not places:
        return found
    async with _reader(settings) as consumer:
        there = await consumer.topics()
        for place in sorted(places):
            key = TopicPartition(place.topic, place.partition)
            if place.topic not in there or place.partition not in await _partitions(consumer, place.topic):
                continue
            consumer.assign([key])
            start, end = (await consumer.beginning_offsets([key]))[key], (await consumer.end_offsets([key]))[key]
            if (
                not start <= place.offset < end + settings.embedded
            ):  # asked for it, that one may leave out the last record
                continue
            consumer.seek(key, place.offset)
            async with asyncio.timeout(READ_S):
                batch = await consumer.getmany(key, timeout_ms=int(READ_S * 500), max_records=1)
            for polled in batch.get(key, []):
                if polled.offset == place.offset:
                    found[place] = as_record(polled)
    return found
