"""Read topics from some time to their present end, as nobody's consumer; and single records where they are."""

import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import OffsetOutOfRangeError
from aiokafka.structs import TopicPartition

from worker.errors import BrokerUnavailable
from worker.kafka.clients import asking_kafka, connection
from worker.kafka.unreadable import as_record
from worker.records import Place, Record
from worker.servers import KafkaSettings

log = structlog.get_logger(__name__)
READ_S, POLL_MS, QUIET_POLLS = 20.0, 500, 60


@asynccontextmanager
async def _reader(settings: KafkaSettings) -> AsyncIterator[AIOKafkaConsumer]:
    isolation = "read_uncommitted" if settings.embedded else "read_committed"
    consumer = AIOKafkaConsumer(**connection(settings), auto_offset_reset="none", isolation_level=isolation)
    try:
        with asking_kafka():
            await consumer.start()
            yield consumer
    finally:
        await consumer.stop()


async def scan(
    settings: KafkaSettings,
    topics: Collection[str],
    since: datetime | None = None,
    finished: Mapping[TopicPartition, int] | None = None,
    *,
    until: datetime | None = None,
    tell_total: Callable[[int], None] = lambda _: None,
) -> AsyncIterator[Record]:
    """
    Yield the records of *topics* up to their ends as they are now, partition by partition in order.

    Args:
        settings: Where Kafka is.
        topics: Those that do not exist are left out.
        since: Only records of that time or later, by the records' own times.
        finished: Only records from these offsets on.
        until: Only records before that time.
        tell_total: Hears how many records there are at the most.

    Raises:
        BrokerUnavailable: Kafka does not answer, or not to the end: what was yielded by then is not all there is.
    """
    async with _reader(settings) as consumer:
        there = await consumer.topics()
        keys = [
            TopicPartition(topic, partition)
            for topic in topics
            if topic in there
            for partition in sorted(consumer.partitions_for_topic(topic) or await partitions_of(consumer, topic))
        ]
        if not keys:
            return
        consumer.assign(keys)
        ends, starts = await consumer.end_offsets(keys), await consumer.beginning_offsets(keys)
        if since is not None:
            starts = ends | await _offsets_at(consumer, keys, since)
        starts = {key: max(start, (finished or {}).get(key, 0)) for key, start in starts.items()}
        for key in keys:
            consumer.seek(key, starts[key])
        if settings.embedded:
            ends = await _fetched_ends(consumer, ends)
        if until is not None and not settings.embedded:  # that one does not know times
            later = await _offsets_at(consumer, keys, until)
            ends = {key: min(end, later.get(key, end)) for key, end in ends.items()}
        tell_total(sum(max(0, ends[key] - starts[key]) for key in keys))
        for key in keys:
            async for record in _up_to(consumer, key, ends[key]):
                if until is None or record.time < until:
                    yield record


async def _offsets_at(
    consumer: AIOKafkaConsumer, keys: Collection[TopicPartition], time: datetime
) -> dict[TopicPartition, int]:
    """Return the first offset of each partition at *time* or later, where there is one."""
    found = await consumer.offsets_for_times({key: int(time.timestamp() * 1000) for key in keys})
    return {key: its.offset for key, its in found.items() if its is not None}


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


async def partitions_of(consumer: AIOKafkaConsumer, topic: str) -> set[int]:
    """Return the partitions of a topic; none if there is no such topic."""
    await consumer._client._wait_on_metadata(topic)  # noqa: SLF001  the client asks only for topics it is told of
    found: set[int] = consumer.partitions_for_topic(topic) or set()
    return found


async def _up_to(consumer: AIOKafkaConsumer, key: TopicPartition, end: int) -> AsyncIterator[Record]:
    quiet = 0
    while (position := await consumer.position(key)) < end:
        try:
            batch = (await consumer.getmany(key, timeout_ms=POLL_MS, max_records=500)).get(key, [])
        except OffsetOutOfRangeError:  # the topic dropped records while the ones before them were read
            (start,) = (await consumer.beginning_offsets([key])).values()
            log.warning(
                "kafka.records_dropped_unread", topic=key.topic, partition=key.partition, records=start - position
            )
            consumer.seek(key, start)
            continue
        quiet = 0 if batch or await consumer.position(key) > position else quiet + 1
        if quiet == QUIET_POLLS:
            # The client says nothing while a leader is away: silence is no end.
            raise BrokerUnavailable(f"{key.topic}/{key.partition} was read up to {position} of {end}, no further")
        for polled in batch:
            if polled.offset >= end:
                return
            yield as_record(polled)


async def last_records(settings: KafkaSettings, topic: str, most: int) -> list[Record]:
    """
    Return about the last *most* records of *topic*, by their times.

    Raises:
        BrokerUnavailable: Kafka does not answer.
    """
    async with _reader(settings) as consumer:
        numbers = await partitions_of(consumer, topic) if topic in await consumer.topics() else set()
        keys = [TopicPartition(topic, number) for number in sorted(numbers)]
        if not keys:
            return []
        consumer.assign(keys)
        ends, starts = await consumer.end_offsets(keys), await consumer.beginning_offsets(keys)
        each, found = -(-most // len(keys)), list[Record]()
        for key in keys:
            consumer.seek(key, max(starts[key], ends[key] - each))
        for key in keys:
            found += [record async for record in _up_to(consumer, key, ends[key])]
    return sorted(found, key=lambda record: record.timestamp_ms)[-most:]


async def fetch_records(settings: KafkaSettings, places: Collection[Place]) -> dict[Place, Record]:
    """
    Return the records at *places*, those that are still there.

    Raises:
        BrokerUnavailable: Kafka does not answer; that a record is gone is known only of a broker that answers.
    """
    found: dict[Place, Record] = {}
    if not places:
        return found
    async with _reader(settings) as consumer:
        there = await consumer.topics()
        for place in sorted(places):
            key = TopicPartition(place.topic, place.partition)
            if place.topic not in there or place.partition not in await partitions_of(consumer, place.topic):
                continue
            consumer.assign([key])
            start, end = (await consumer.beginning_offsets([key]))[key], (await consumer.end_offsets([key]))[key]
            if (
                not start <= place.offset < end + settings.embedded
            ):  # asked for it, that one may leave out the last record
                continue
            consumer.seek(key, place.offset)
            polled = await _one(consumer, key, until=place.offset + 1)
            if polled is not None and polled.offset == place.offset:
                found[place] = as_record(polled)
    return found


async def _one(consumer: AIOKafkaConsumer, key: TopicPartition, until: int) -> Any:
    """Return the next record; None if there is none before *until*."""
    ends = time.monotonic() + READ_S
    while time.monotonic() < ends:
        batch = (await consumer.getmany(key, timeout_ms=POLL_MS, max_records=1)).get(key, [])
        if batch:
            return batch[0]
        if await consumer.position(key) >= until:  # it was a transaction's marker, or of one that was aborted
            return None
    raise BrokerUnavailable(f"{key.topic}/{key.partition} cannot be read at {until - 1}")
