"""
Where reading begins.

A group's first start is a fact about the whole deployment, not about an offset that is missing: `latest` holds for a topic
that no process of the deployment has ever read. The state store remembers, for each partition, which topic it was and up to
where it had been read; so a partition that appears later, a topic that was deleted and made again, and offsets that the
broker has lost are told from a first start.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Literal, NamedTuple, Protocol

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CommitFailedError, KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from worker.errors import StateUnavailable, is_cut_off
from worker.kafka.topic_ids import UNKNOWN, topic_ids
from worker.records import Partition, Position

DEADLINE_S = 60.0
ABSENT = -1  # stands for the partitions of a topic that does not exist yet
Starts = Mapping[str, Literal["earliest", "latest"]]


class Origin(StrEnum):
    """Why reading begins where it does."""

    COMMITTED = "committed"
    FIRST_START = "first_start"
    PARTITION_ADDED = "partition_added"
    TOPIC_RECREATED = "topic_recreated"
    OFFSETS_VANISHED = "offsets_vanished"


INCIDENTS = (Origin.TOPIC_RECREATED, Origin.OFFSETS_VANISHED)


class Start(NamedTuple):
    """Where a partition begins, and why; None is the beginning of its log, -1 the end."""

    origin: Origin
    offset: int | None


class Positions(Protocol):
    """Remembers positions for the whole deployment."""

    async def load(self, topics: Collection[str]) -> Mapping[Partition, Position]:
        """Return what is remembered of *topics*."""

    async def first_seen(self, positions: Mapping[Partition, Position]) -> None:
        """Remember partitions at the deployment's first start; what somebody else remembered before stands."""

    async def reached(self, positions: Mapping[Partition, Position]) -> None:
        """Remember up to where partitions have been read and finished."""


def starting_point(committed: int | None, known: Position | None, topic_id: str, *, topic_is_known: bool) -> Start:
    """
    Return where a partition begins.

    Args:
        committed: What the group has committed; None if nothing.
        known: What the state store remembers of the partition.
        topic_id: Of the topic as it is now; empty if the broker does not say.
        topic_is_known: The deployment has read some partition of the topic, or has waited for it to exist.
    """
    if known is not None and known.topic_id and topic_id and known.topic_id != topic_id:
        return Start(Origin.TOPIC_RECREATED, None)
    if committed is not None:
        return Start(Origin.COMMITTED, committed)
    if known is not None:
        origin = Origin.OFFSETS_VANISHED if known.was_committed else Origin.FIRST_START
        return Start(origin, known.next_offset)
    return Start(Origin.PARTITION_ADDED if topic_is_known else Origin.FIRST_START, None)


async def begin_at(
    consumer: AIOKafkaConsumer, keys: Collection[TopicPartition], starts: Starts, positions: Positions
) -> tuple[dict[TopicPartition, Start], dict[str, str]]:
    """
    Return where to read each partition and why, and the topics' ids; what has no offset yet is committed at once.

    Raises:
        CommitFailedError: There is another assignment by now.
        KafkaError: The broker has not answered for a minute.
        StateUnavailable: An offset is missing, and the state store has not said for a minute what it remembers.
    """
    persistently = AsyncRetrying(
        retry=retry_if_exception(
            lambda e: (
                (isinstance(e, KafkaError | StateUnavailable) or is_cut_off(e)) and not isinstance(e, CommitFailedError)
            )
        ),
        stop=stop_after_delay(DEADLINE_S),
        wait=wait_random_exponential(multiplier=0.1, max=2),
        reraise=True,
    )
    begin: tuple[dict[TopicPartition, Start], dict[str, str]] = await persistently(
        _begin_at, consumer, keys, starts, positions
    )
    return begin


async def _begin_at(
    consumer: AIOKafkaConsumer, keys: Collection[TopicPartition], starts: Starts, positions: Positions
) -> tuple[dict[TopicPartition, Start], dict[str, str]]:
    committed = {key: await consumer.committed(key) for key in sorted(keys)}
    ids = await topic_ids(consumer, set(starts))
    known = await _remembered(consumer, starts, positions, optional=None not in committed.values())
    lacking = {key.topic for key, offset in committed.items() if offset is None}
    topics = {topic for topic, _ in known} | {topic for topic in lacking if await _was_read(consumer, topic)}
    first = [topic for topic in sorted(lacking - topics) if starts[topic] == "latest"]
    if first:
        await positions.first_seen(await _ends(consumer, first, ids))
        known = await positions.load(starts)
    begin = {
        key: starting_point(
            offset, known.get((key.topic, key.partition)), ids[key.topic], topic_is_known=key.topic in topics
        )
        for key, offset in committed.items()
    }
    moved = [key for key, start in begin.items() if start.origin is not Origin.COMMITTED]
    if moved:
        beginnings = await consumer.beginning_offsets(moved)
        begin |= {key: begin[key]._replace(offset=beginnings[key]) for key in moved if begin[key].offset is None}
        for key in moved:
            consumer.seek(key, begin[key].offset)
        # Not committed, a quiet partition would begin at its end again, past what was written meanwhile.
        await consumer.commit({key: OffsetAndMetadata(begin[key].offset, "") for key in moved})
    return begin, ids


async def _remembered(
    consumer: AIOKafkaConsumer, starts: Starts, positions: Positions, *, optional: bool
) -> Mapping[Partition, Position]:
    """Return what is remembered of the topics, and remember which are waited for."""
    try:
        known = await positions.load(starts)
        await wait_for_topics(consumer, starts.keys() - {topic for topic, _ in known}, positions)
    except StateUnavailable:
        if not optional:
            raise
        return {}
    return known


async def wait_for_topics(consumer: AIOKafkaConsumer, topics: Collection[str], positions: Positions) -> None:
    """
    Remember which of *topics* do not exist yet: once they do, they are read from their beginning.

    Raises:
        StateUnavailable: The state store does not answer.
    """
    absent = [topic for topic in topics if not consumer.partitions_for_topic(topic)]
    await positions.first_seen({(topic, ABSENT): Position(UNKNOWN, 0, was_committed=False) for topic in absent})


async def _was_read(consumer: AIOKafkaConsumer, topic: str) -> bool:
    """Return whether the group has committed anything of a topic: what another version read has no row."""
    numbers = sorted(consumer.partitions_for_topic(topic) or ())
    offsets = [await consumer.committed(TopicPartition(topic, number)) for number in numbers]
    return any(offset is not None for offset in offsets)


async def _ends(
    consumer: AIOKafkaConsumer, topics: Collection[str], ids: Mapping[str, str]
) -> dict[Partition, Position]:
    """Return where *topics* end now, all their partitions: a first start is the same for every process."""
    keys = [TopicPartition(topic, n) for topic in topics for n in sorted(consumer.partitions_for_topic(topic) or ())]
    ends = await consumer.end_offsets(keys)
    return {(key.topic, key.partition): Position(ids[key.topic], ends[key], was_committed=False) for key in keys}
