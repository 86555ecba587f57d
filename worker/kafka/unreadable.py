"""A record that the client cannot parse (a header's name that is not UTF-8): found, stepped over, and stood in for."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from worker.records import UNREADABLE_HEADER, Record

STEPS, STEP_MS = 1_000, 300  # how far and how patiently it is looked for


async def step_over(
    consumer: AIOKafkaConsumer, next_offsets: Mapping[TopicPartition, int], position: Callable[[TopicPartition], int]
) -> list[tuple[TopicPartition, list[Record]]]:
    """
    Return the records up to the first that cannot be parsed, and an empty one in its place, which becomes a dead letter.

    The client raises at it for ever; so records are taken one by one up to it.
    """
    for key, offset in next_offsets.items():  # what the failed call had taken of others is taken back
        consumer.seek(key, offset)
    found: list[tuple[TopicPartition, list[Record]]] = []
    for key in next_offsets:
        try:
            while len(found) < STEPS and (batch := await consumer.getmany(key, timeout_ms=STEP_MS, max_records=1)):
                found += [(its, [as_record(one) for one in records]) for its, records in batch.items()]
        except (UnicodeDecodeError, ValueError):
            offset = _stuck_at(consumer, key, position(key))
            consumer.seek(key, offset + 1)
            now_ms = int(time.time() * 1000)
            standing_in = Record(key.topic, key.partition, offset, now_ms, None, None, ((UNREADABLE_HEADER, b""),))
            return [*found, (key, [standing_in])]
    return found


async def one_by_one(
    consumer: AIOKafkaConsumer, keys: Iterable[TopicPartition], most: int
) -> dict[TopicPartition, list[Any]]:
    """Return what the first of *keys* has that has anything; one that fails keeps none of the others from being read."""
    for key in list(keys):
        with suppress(KafkaError, UnicodeDecodeError, ValueError):
            if batches := await consumer.getmany(key, timeout_ms=0, max_records=most):
                return dict(batches)
    return {}


def _stuck_at(consumer: AIOKafkaConsumer, key: TopicPartition, position: int) -> int:
    """Return the offset that cannot be parsed: the position, or past it where a gap or marker was skipped before."""
    fetched = getattr(consumer._fetcher._records.get(key), "_partition_records", None)  # noqa: SLF001
    return max(position, getattr(fetched, "next_fetch_offset", 0))


def as_record(polled: Any) -> Record:
    """Return a record of the client as ours."""
    return Record(
        polled.topic,
        polled.partition,
        polled.offset,
        polled.timestamp,
        polled.key,
        polled.value,
        tuple(polled.headers),
    )
