"""
A consumer and what it owns: assignments, positions, commits.

Any rebalance makes a new assignment: what was paused is not, and positions go back to what was committed, for partitions
that were kept as well. So everything is built anew at each assignment, and a commit belongs to the assignment that
computed it: the last one ends inside the revoke callback, and none starts until partitions are assigned again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from worker.errors import BrokerUnavailable
from worker.kafka.assigned import Assigned
from worker.records import UNREADABLE_HEADER, Record

log = structlog.get_logger(__name__)
COMMIT_DEADLINE_S = 5.0
FRESH_MS = 5_000
STEPS, STEP_MS = 1_000, 300  # how far and how patiently a record that cannot be parsed is looked for


class Source:
    """
    Reads topics as a member of a group.

    Args:
        consumer: Not started.
        starts: Topic to where a group without offsets begins.
        before_revoke: Finishes what it can of the partitions about to go; bounded by the caller.
    """

    def __init__(
        self,
        name: str,
        consumer: AIOKafkaConsumer,
        starts: Mapping[str, Literal["earliest", "latest"]],
        before_revoke: Callable[[], Awaitable[None]],
    ) -> None:
        self.name = name
        self._consumer = consumer
        self._starts = starts
        self._before_revoke = before_revoke
        self._assigned: dict[TopicPartition, Assigned] = {}
        self._committing: asyncio.Task[None] | None = None
        self._may_commit = False
        self._persistently = AsyncRetrying(
            retry=retry_if_exception_type(KafkaError),
            stop=stop_after_attempt(5),
            wait=wait_random_exponential(multiplier=0.1, max=2),
            reraise=True,
        )
        self._paused = False
        self._failure: BrokerUnavailable | None = None
        self.rebalances = 0
        self.ready = asyncio.Event()

    async def start(self) -> None:
        """
        Connect and join the group.

        Raises:
            BrokerUnavailable: Kafka does not answer.
        """
        self._consumer.subscribe(topics=list(self._starts), listener=_Listener(self))
        try:
            await self._consumer.start()
        except KafkaError as error:
            await self._consumer.stop()
            raise BrokerUnavailable(f"Kafka does not answer: {type(error).__name__}") from error

    async def stop(self) -> None:
        """Commit what is finished and leave the group."""
        await self._commit_last()
        self._may_commit = False
        with suppress(TimeoutError):
            async with asyncio.timeout(COMMIT_DEADLINE_S * 2):
                await self._consumer.stop()

    async def poll(self, most: int, wait_s: float) -> list[tuple[Assigned, Record]]:
        """
        Return up to *most* records, partition by partition in order.

        Never cancelled: that would leave the client's guard against dead pollers switched off for ever.
        """
        if self._failure is not None:
            raise self._failure
        try:
            batches = await self._consumer.getmany(timeout_ms=int(wait_s * 1000), max_records=most)
        except (UnicodeDecodeError, ValueError) as error:
            log.warning("kafka.unreadable_record", source=self.name, error=type(error).__name__)
            return await self._step_over()
        return [pair for key, batch in batches.items() for pair in self._observe(key, map(_record, batch))]

    def _observe(self, key: TopicPartition, records: Iterable[Record]) -> list[tuple[Assigned, Record]]:
        if (assigned := self._assigned.get(key)) is None:
            return []
        observed = [(assigned, record) for record in records]
        for _, record in observed:
            assigned.tracker.observe(record.offset)
            assigned.next_offset = record.offset + 1
        return observed

    async def _step_over(self) -> list[tuple[Assigned, Record]]:
        """
        Find the record that the client cannot parse (a header's name that is not UTF-8), and stand an empty one in for it.

        The client raises at it for ever; so records are taken one by one up to it. What stands in becomes a dead letter.
        """
        for key, each in self._assigned.items():  # what the failed call had taken of others is taken back
            self._consumer.seek(key, each.next_offset)
        found: list[tuple[Assigned, Record]] = []
        for key in list(self._assigned):
            try:
                while len(found) < STEPS and (
                    batch := await self._consumer.getmany(key, timeout_ms=STEP_MS, max_records=1)
                ):
                    found += [
                        pair for its, records in batch.items() for pair in self._observe(its, map(_record, records))
                    ]
            except (UnicodeDecodeError, ValueError):
                offset = self._stuck_at(key)
                self._consumer.seek(key, offset + 1)
                now_ms = int(time.time() * 1000)
                standing_in = Record(key.topic, key.partition, offset, now_ms, None, None, ((UNREADABLE_HEADER, b""),))
                return found + self._observe(key, [standing_in])
        return found

    def _stuck_at(self, key: TopicPartition) -> int:
        """Return the offset that cannot be parsed: the position, or past it where a gap or marker was skipped before."""
        fetched = getattr(self._consumer._fetcher._records.get(key), "_partition_records", None)  # noqa: SLF001
        return max(self._position(key), getattr(fetched, "next_fetch_offset", 0))

    def pause(self, *, paused: bool) -> None:
        """Stop or resume fetching; the flags are put again after a rebalance."""
        if paused != self._paused:
            (self._consumer.pause if paused else self._consumer.resume)(*self._assigned)
            self._paused = paused

    async def commit(self) -> None:
        """Commit what is finished, one commit at a time, within its deadline; a refused one is tried again later."""
        if self._committing is None or self._committing.done():
            offsets = {
                each: each.tracker.committable
                for each in self._assigned.values()
                if each.tracker.committable > each.committed
            }
            if not offsets or not self._may_commit:
                return
            self._committing = asyncio.create_task(self._commit(offsets), name=f"commit-{self.name}")
        await asyncio.wait({self._committing}, timeout=COMMIT_DEADLINE_S)

    async def _commit_last(self) -> None:
        """Commit what is finished by now, after a commit that may be under way."""
        await self.commit()
        await self.commit()

    async def _commit(self, offsets: Mapping[Assigned, int]) -> None:
        try:
            await self._consumer.commit({each.key: OffsetAndMetadata(offset, "") for each, offset in offsets.items()})
        except CommitFailedError:
            log.info("kafka.commit_superseded", source=self.name)
        except KafkaError as error:
            log.warning("kafka.commit_failed", source=self.name, error=type(error).__name__)
        else:
            for each, offset in offsets.items():
                each.committed = offset

    def lag(self) -> dict[str, int]:
        """Return unread and unfinished records by topic, as far as the last fetch knew."""
        lag: dict[str, int] = dict.fromkeys(self._starts, 0)
        for key, each in self._assigned.items():
            end = self._consumer.highwater(key) or 0
            start = each.tracker.committable if each.tracker.unfinished else self._position(key)
            lag[key.topic] += max(0, end - start)
        return lag

    def behind_s(self) -> dict[tuple[str, int], float]:
        """
        Return how far behind the end of the log each partition is, in seconds, where that is known.

        0 where everything has been read and finished, by a fetch of the last seconds: if the broker is away, nobody knows.
        """
        now_ms, behind = time.time() * 1000, {}
        for key, each in self._assigned.items():
            end, fetched_ms = self._consumer.highwater(key), self._consumer.last_poll_timestamp(key)
            fresh = fetched_ms is not None and now_ms - fetched_ms < FRESH_MS
            if fresh and end is not None and not each.tracker.unfinished and self._position(key) >= end:
                behind[key.topic, key.partition] = 0.0
            elif fresh and each.finished_ms is not None:
                behind[key.topic, key.partition] = max(0.001, (now_ms - each.finished_ms) / 1000)
        return behind

    def caught_up(self) -> bool:
        """Return whether everything there is has been read and finished; false while nothing is assigned."""
        behind = self.behind_s()
        return bool(behind) and len(behind) == len(self._assigned) and not any(behind.values())

    def _position(self, key: TopicPartition) -> int:
        """Return the next offset to read, as the client has it now; markers and gaps are behind it."""
        position: int | None = self._consumer._subscription.subscription.assignment.state_value(key)._position  # noqa: SLF001
        return position or 0

    def positions(self) -> list[tuple[str, int]]:
        """Return the partitions that are assigned."""
        return [(key.topic, key.partition) for key in self._assigned]

    async def revoked(self) -> None:
        """Finish, commit, forget; runs inside the rebalance, while the whole group waits."""
        self.ready.clear()
        await self._before_revoke()
        await self._commit_last()
        if self._committing is not None and not self._committing.done():
            self._committing.cancel()  # it would land after the rebalance, and take the next owner back
        self._may_commit = False
        for each in self._assigned.values():
            each.lost = True
        self._assigned = {}

    async def assigned(self, keys: Iterable[TopicPartition]) -> None:
        """Build everything anew; a failure here is raised by the next poll, as the client would only log it."""
        keys = set(keys)
        if keys:
            self._consumer.pause(*keys)  # first, as fetching may begin at the next await
        self.rebalances += 1
        try:
            positions: dict[TopicPartition, int] = await self._persistently(self._positions, keys)
        except KafkaError as error:
            self._failure = BrokerUnavailable(f"{self.name}: no positions after a rebalance: {type(error).__name__}")
            return
        self._assigned = {key: Assigned(key, positions[key]) for key in keys}
        self._may_commit = True
        if keys and not self._paused:
            self._consumer.resume(*keys)
        self.ready.set()
        log.info("kafka.assigned", source=self.name, partitions=len(keys))

    async def _positions(self, keys: set[TopicPartition]) -> dict[TopicPartition, int]:
        """Return where to read; what has no offset begins where its topic says, and that is committed at once."""
        committed = {key: await self._consumer.committed(key) for key in sorted(keys)}
        beginnings = {key: await self._begin(key) for key, offset in committed.items() if offset is None}
        if beginnings:
            # Not committed, a quiet partition would begin at its end again, past what was written meanwhile.
            await self._consumer.commit({key: OffsetAndMetadata(offset, "") for key, offset in beginnings.items()})
        return {key: beginnings[key] if offset is None else offset for key, offset in committed.items()}

    async def _begin(self, key: TopicPartition) -> int:
        at_end = self._starts[key.topic] == "latest"
        await (self._consumer.seek_to_end if at_end else self._consumer.seek_to_beginning)(key)
        position: int = await self._consumer.position(key)
        return position


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, source: Source) -> None:
        self._source = source

    async def on_partitions_revoked(self, _: Sequence[TopicPartition]) -> None:
        await self._source.revoked()  # eager rebalancing: everything goes

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        await self._source.assigned(assigned)


def _record(polled: Any) -> Record:
    return Record(
        polled.topic,
        polled.partition,
        polled.offset,
        polled.timestamp,
        polled.key,
        polled.value,
        tuple(polled.headers),
    )
