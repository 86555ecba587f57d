"""The control topic: compacted, one record a scope; every process reads all of it, and follows it."""

import asyncio
import time
from collections.abc import Mapping

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from worker.clock import Clock
from worker.errors import BrokerUnavailable, ConfigurationError
from worker.kafka.clients import asking_kafka, connection, keep_renewed, part_from
from worker.kafka.scanning import scan
from worker.pausing import Pause, Pauses, read
from worker.servers import KafkaSettings

log = structlog.get_logger(__name__)
POLL_MS, AGAIN_S, GOODBYE_S, DEAF_S = 1_000, 2.0, 5.0, 60.0


class ControlTopic:
    """Keeps *pauses* as the control topic says; while Kafka is away, what it said last stands."""

    def __init__(self, settings: KafkaSettings, topic: str, pauses: Pauses, clock: Clock) -> None:
        self._settings = settings
        self._key = TopicPartition(topic, 0)
        self._pauses = pauses
        self._clock = clock
        self._paused: dict[str, Pause] = {}
        self._next: int | None = None

    async def catch_up(self) -> None:
        """
        Read what the topic says by now: what is paused must not begin because a process is new.

        Raises:
            BrokerUnavailable: Kafka does not answer.
        """
        async for record in scan(self._settings, [self._key.topic]):
            self._hear(record.key, record.value)
            self._next = record.offset + 1
        self._tell()

    async def run(self) -> None:
        """Follow for ever; belongs into a TaskGroup."""
        while True:
            try:
                await self._follow()
            except BrokerUnavailable as error:
                log.debug("control.unread", error=str(error))
            except ConfigurationError as error:  # a password's file is away for a moment
                log.warning("control.unread", error=str(error))
            await self._clock.sleep(AGAIN_S)

    async def _follow(self) -> None:
        consumer = keep_renewed(AIOKafkaConsumer(**connection(self._settings), auto_offset_reset="earliest"))
        try:
            with asking_kafka():
                await consumer.start()
                consumer.assign([self._key])
                if self._next is not None:
                    consumer.seek(self._key, self._next)
                heard_at = self._clock.monotonic()
                while True:
                    polled_ms = consumer.last_poll_timestamp(self._key)
                    if polled_ms is not None and time.time() * 1000 - polled_ms < DEAF_S * 1000:
                        heard_at = self._clock.monotonic()
                    if self._clock.monotonic() - heard_at > DEAF_S:  # the client says nothing of a broker that is away
                        log.warning("control.deaf", seconds=DEAF_S)
                        return
                    batch = await consumer.getmany(self._key, timeout_ms=POLL_MS)
                    for polled in batch.get(self._key, []):
                        self._hear(polled.key, polled.value)
                        self._next = polled.offset + 1
                    if batch:
                        self._tell()
                    await asyncio.sleep(0)
        finally:
            await part_from(consumer, GOODBYE_S)

    def _hear(self, key: bytes | None, value: bytes | None) -> None:
        if (said := read(key, value)) is None:
            return
        scope, pause = said
        if pause is None:
            self._paused.pop(scope, None)
        else:
            self._paused[scope] = pause

    def _tell(self) -> None:
        told: Mapping[str, Pause] = dict(self._paused)
        self._pauses.adopt("topic", told)
