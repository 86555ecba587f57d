"""Where reading begins."""

from collections.abc import Collection, Mapping
from typing import Literal

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import OffsetAndMetadata, TopicPartition

Starts = Mapping[str, Literal["earliest", "latest"]]


async def begin_at(
    consumer: AIOKafkaConsumer, keys: Collection[TopicPartition], starts: Starts
) -> dict[TopicPartition, int]:
    """Return where to read; what has no offset begins where its topic says, and that is committed at once."""
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
