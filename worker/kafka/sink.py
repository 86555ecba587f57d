"""
Writes records: one batch in flight per partition, the next is what gathered meanwhile.

A record is written when the broker says so. If the broker refuses or is away, the sink holds and tries again for as long
as it takes; ids absorb what is written twice.
"""

import asyncio
import zlib
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from worker.errors import DeadLetterReason, PermanentError, is_cut_off
from worker.kafka.clients import asking_kafka, part_from
from worker.records import Outgoing
from worker.telemetry.resources import Resource, Use, failed

log = structlog.get_logger(__name__)
BATCH_BYTES = 256 * 1024
MOST_IN_A_BATCH = 400  # what one is packed in keeps the event loop for, some two milliseconds
# A record of ours is a few KiB; a dead letter may be as large as what a source allows, plus its headers.
MAX_RECORD_BYTES = 1024 * 1024 - 4 * 1024
START_DEADLINE_S = 60.0
STOP_DEADLINE_S, HELD_STOP_DEADLINE_S = 10.0, 1.0

Waiting = tuple[Outgoing, "asyncio.Future[None]"]


class TooLarge(PermanentError):
    """The broker will never take this record."""

    def __init__(self, size: int) -> None:
        super().__init__(DeadLetterReason.TOO_LARGE, f"{size} bytes; {MAX_RECORD_BYTES} is the most")


def partition_of(key: bytes | None, partitions: int) -> int:
    """
    Return the partition of *key*.

    CRC-32, in C; the client's murmur2 is in Python. Every producer of a topic must choose alike, as the order of a key
    depends on it: only the worker writes its topics, and only by this function.
    """
    return zlib.crc32(key or b"") % partitions


class Sink:
    """Writes records; opened by `open_sink`."""

    def __init__(self, producer: AIOKafkaProducer, tasks: asyncio.TaskGroup) -> None:
        self._producer = producer
        self._tasks = tasks
        self._partitions: dict[str, int] = {}
        self._queues: dict[tuple[str, int], deque[Waiting]] = {}
        self._flushing: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._writing = 0
        self.held = False

    def use(self, name: str) -> Use:
        """Return how many records are on their way to the broker, and how many are in line behind them."""
        return Use(Resource.WRITES, name, self._writing, waiting=sum(map(len, self._queues.values())))

    async def publish(self, outgoing: Outgoing) -> None:
        """
        Write a record; return when the broker has it.

        Raises:
            TooLarge: It never will.
        """
        await (await self.enqueue([outgoing]))

    async def enqueue(self, records: Iterable[Outgoing]) -> "asyncio.Future[list[None]]":
        """Put *records* in line, in order; await what is returned for the broker's word on all of them."""
        futures = []
        loop = asyncio.get_running_loop()
        for record in records:
            future: asyncio.Future[None] = loop.create_future()
            futures.append(future)
            size = (
                len(record.value)
                + sum(len(name) + len(value) for name, value in record.headers)
                + len(record.key or b"")
            )
            if size > MAX_RECORD_BYTES:
                future.set_exception(TooLarge(size))
                continue
            count = self._partitions.get(record.topic) or await self._count(record.topic)
            place = (record.topic, partition_of(record.key, count))
            self._queues.setdefault(place, deque()).append((record, future))
            if place not in self._flushing:
                self._flushing[place] = self._tasks.create_task(self._flush(place), name=f"flush-{record.topic}")
        return asyncio.gather(*futures)

    async def drain(self, seconds: float) -> None:
        """Write what is in line, within *seconds*; give up what the broker does not take."""
        if self._flushing:
            await asyncio.wait(set(self._flushing.values()), timeout=seconds)
        for task in self._flushing.values():
            task.cancel()

    async def _count(self, topic: str) -> int:
        partitions: set[int] = await self._holding(topic)(self._producer.partitions_for, topic)
        self._partitions[topic] = len(partitions)
        return len(partitions)

    async def _flush(self, place: tuple[str, int]) -> None:
        queue = self._queues[place]
        try:
            while queue:
                await self._write(place, self._take(queue))
        finally:
            del self._flushing[place]

    @staticmethod
    def _take(queue: deque[Waiting]) -> list[Waiting]:
        taken: list[Waiting] = []
        size = 0
        while queue and (not taken or size + len(queue[0][0].value) < BATCH_BYTES) and len(taken) < MOST_IN_A_BATCH:
            taken.append(queue.popleft())
            size += len(taken[-1][0].value) + 300
        return taken

    async def _write(self, place: tuple[str, int], waiting: list[Waiting]) -> None:
        self._writing += len(waiting)
        try:
            await self._holding(place[0])(self._send, place, waiting)
        finally:
            self._writing -= len(waiting)
        self.held = False
        for _, future in waiting:
            if not future.done():
                future.set_result(None)

    async def _send(self, place: tuple[str, int], waiting: list[Waiting]) -> None:
        topic, partition = place
        batch = self._producer.create_batch()
        sent = []
        for record, _ in waiting:
            while (
                batch.append(timestamp=None, key=record.key, value=record.value, headers=list(record.headers)) is None
            ):
                sent.append(await self._producer.send_batch(batch, topic, partition=partition))
                batch = self._producer.create_batch()
        sent.append(await self._producer.send_batch(batch, topic, partition=partition))
        await asyncio.gather(*sent)

    def _holding(self, topic: str) -> AsyncRetrying:
        """Return a retry that waits for the broker, 0.1 to 5 seconds between tries."""

        def tell(state: RetryCallState) -> None:
            self.held = True
            failed(Resource.KAFKA, "write")
            error = state.outcome.exception() if state.outcome else None
            log.warning("kafka.write_held", topic=topic, error=type(error).__name__, tries=state.attempt_number)

        return AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, KafkaError) or is_cut_off(error)),
            wait=wait_random_exponential(multiplier=0.1, max=5),
            before_sleep=tell,
            reraise=True,
        )


@asynccontextmanager
async def open_sink(producer: AIOKafkaProducer) -> AsyncIterator[Sink]:
    """
    Connect; what is in line is written before the block ends, within a deadline.

    Raises:
        BrokerUnavailable: Kafka does not answer.
    """
    try:
        with asking_kafka():
            async with asyncio.timeout(START_DEADLINE_S):
                await producer.start()
        async with asyncio.TaskGroup() as tasks:
            sink = Sink(producer, tasks)
            yield sink
            await sink.drain(HELD_STOP_DEADLINE_S if sink.held else STOP_DEADLINE_S)
    finally:
        await part_from(producer, HELD_STOP_DEADLINE_S)
