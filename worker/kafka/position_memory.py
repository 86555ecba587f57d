"""What one source lets its deployment remember: up to where it has read, and of which topic that was."""

from collections.abc import Collection, Iterable, Mapping

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from aiokafka.structs import TopicPartition

from worker.errors import StateUnavailable
from worker.kafka.assigned import Assigned
from worker.kafka.positions import INCIDENTS, Origin, Positions, Start, Starts, begin_at, wait_for_topics
from worker.kafka.topic_ids import UNKNOWN, topic_ids
from worker.records import Position
from worker.telemetry import metrics

log = structlog.get_logger(__name__)


class PositionMemory:
    """
    Remembers positions of one source, and notices topics that were deleted and made again.

    Args:
        name: Of the source, for logs and metrics.
    """

    def __init__(self, name: str, consumer: AIOKafkaConsumer, starts: Starts, positions: Positions) -> None:
        self._name = name
        self._consumer = consumer
        self._starts = starts
        self._positions = positions
        self._ids: Mapping[str, str] = {}
        self._recreated: Mapping[str, str] = {}

    async def start(self) -> None:
        """Start the consumer; a topic that does not exist is remembered as one that is waited for."""
        try:
            await self._consumer.start()
        except UnknownTopicOrPartitionError:
            await wait_for_topics(self._consumer, self._starts, self._positions)
            raise

    async def begin(self, keys: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return where to read each partition; see `begin_at` for what it raises."""
        begin, self._ids = await begin_at(self._consumer, keys, self._starts, self._positions)
        self._recreated = {}
        for key, start in begin.items():
            self._report(key, start)
        return {key: start.offset or 0 for key, start in begin.items()}

    async def remember(self, assignments: Iterable[Assigned]) -> None:
        """
        Let the deployment remember what is committed.

        While the state store does not answer, what was remembered last stands: less than is true, which is safe.
        """
        reached = {each: each.committed for each in assignments if each.committed != each.remembered}
        ids = self._ids
        positions = {
            (each.key.topic, each.key.partition): Position(ids.get(each.key.topic, UNKNOWN), offset)
            for each, offset in reached.items()
        }
        try:
            await self._positions.reached(positions)
        except StateUnavailable as error:
            log.debug("positions.not_remembered", source=self._name, error=str(error))
            return
        for each, offset in reached.items():
            each.remembered = offset

    async def look_for_recreated_topics(self) -> None:
        """Notice topics that were deleted and made again while they are read; the next poll begins them again."""
        try:
            ids = await topic_ids(self._consumer, set(self._starts))
        except (KafkaError, RuntimeError):  # the broker is unavailable, or the client is being closed
            return
        before = self._ids
        self._recreated = {
            topic: now for topic, now in ids.items() if now and before.get(topic) and before[topic] != now
        }

    async def recreated(self, keys: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """
        Return which of *keys* are of topics that were made again, and where those begin; once.

        Raises:
            KafkaError: The broker does not answer; they are noticed again.
        """
        ids, self._recreated = self._recreated, {}
        if not ids:
            return {}
        begin: dict[TopicPartition, int] = await self._consumer.beginning_offsets([k for k in keys if k.topic in ids])
        for key, offset in begin.items():
            self._report(key, Start(Origin.TOPIC_RECREATED, offset))
        self._ids = {**self._ids, **ids}
        return begin

    def _report(self, key: TopicPartition, start: Start) -> None:
        """Log why a partition does not begin at its committed offset; what broker or people deleted is an incident."""
        if start.origin is Origin.COMMITTED:
            return
        tell = log.critical if start.origin in INCIDENTS else log.info
        tell(f"kafka.{start.origin}", source=self._name, topic=key.topic, partition=key.partition, begins=start.offset)
        if start.origin in INCIDENTS:
            metrics.child(metrics.START_INCIDENTS, self._name, key.topic, start.origin).inc()
