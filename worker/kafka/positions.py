"""Where reading begins."""

from collections.abc import Collection, Mapping
from typing import Literal

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CommitFailedError, KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from worker.errors import is_cut_off

DEADLINE_S = 60.0
Starts = Mapping[str, Literal["earliest", "latest"]]


async def begin_at(
    consumer: AIOKafkaConsumer, keys: Collection[TopicPartition], starts: Starts
) -> dict[TopicPartition, int]:
    """
    Return where to read; what has no offset begins where its topic says, and that is committed at once.

    Raises:
        CommitFailedError: There is another assignment by now.
        KafkaError: The broker has not answered for a minute.
    """
    persistently = AsyncRetrying(
        retry=retry_if_exception(
            lambda e: (isinstance(e, KafkaError) or is_cut_off(e)) and not isinstance(e, CommitFailedError)
        ),
        stop=stop_after_delay(DEADLINE_S),
        wait=wait_random_exponential(multiplier=0.1, max=2),
        reraise=True,
    )
    positions: dict[TopicPartition, int] = await persistently(_begin_at, consumer, keys, starts)
    return positions


async def _begin_at(
    consumer: AIOKafkaConsumer, keys: Collection[TopicPartition], starts: Starts
) -> dict[TopicPartition, int]:
    committed = {key: await consumer.committed(key) for key in sorted(keys)}
    beginnings = {
        key: await _seek(consumer, key, at_end=starts[key.topic] == "latest")
        for key, offset in committed.items()
        if offset is None
    }
    if beginnings:
        # Not committed, a quiet partition would begin at its end again, past what was written meanwhile.
        await consumer.commit({key: OffsetAndMetadata(offset, "") for key, offset in beginnings.items()})
    return {key: beginnings[key] if offset is None else offset for key, offset in committed.items()}


async def _seek(consumer: AIOKafkaConsumer, key: TopicPartition, *, at_end: bool) -> int:
    await (consumer.seek_to_end if at_end else consumer.seek_to_beginning)(key)
    position: int = await consumer.position(key)
    return position
