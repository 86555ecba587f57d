"""
A consumer and what it owns: assignments, positions, commits.

Any rebalance makes a new assignment: what was paused is not, and positions go back to what was committed, for partitions
that were kept as well. So everything is built anew at each assignment, and a commit belongs to the assignment that
computed it: the last one ends inside the revoke callback, and none starts until partitions are assigned again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import Literal

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from aiokafka.structs import TopicPartition

from worker.errors import BrokerUnavailable, StateUnavailable
from worker.kafka.assigned import Assigned
from worker.kafka.clients import Listener, asking_kafka, part_from
from worker.kafka.commits import COMMIT_DEADLINE_S, Commits
from worker.kafka.flight import FlightRecorder
from worker.kafka.position_memory import PositionMemory
from worker.kafka.positions import Positions
from worker.kafka.standing import Standing
from worker.kafka.unreadable import as_record, one_by_one, step_over
from worker.records import Record
from worker.telemetry import metrics
from worker.telemetry.resources import Resource, failed

log = structlog.get_logger(__name__)
FAILED_POLL_S = 1.0
START_DEADLINE_S = 90.0


class Source:
    """
    Reads topics as a member of a group.

    Args:
        consumer: Not started.
        starts: Topic to where the deployment begins at its first start.
        positions: Remembers for the deployment how far each partition has been read.
        before_revoke: Finishes what it can of the partitions about to go; bounded by the caller.
        first: Topics that are read before the others.
    """

    def __init__(
        self,
        name: str,
        consumer: AIOKafkaConsumer,
        starts: Mapping[str, Literal["earliest", "latest"]],
        positions: Positions,
        before_revoke: Callable[[], Awaitable[None]],
        *,
        first: Collection[str] = (),
    ) -> None:
        self.name = name
        self._consumer = consumer
        self._starts = starts
        self.memory = PositionMemory(name, consumer, starts, positions)
        self._before_revoke = before_revoke
        self._first = frozenset(first)
        self._assigned: dict[TopicPartition, Assigned] = {}
        self._paused = self._reads_ahead = self._abandoned = False
        self._built_for: object = None
        self._failure: BrokerUnavailable | None = None
        self.rebalances = 0
        self.flights = FlightRecorder()
        self.last_record_at = time.monotonic()
        self.commits = Commits(name, consumer, self.assignments, self._committable, self._note)
        self.standing = Standing(consumer, starts, lambda: self._assigned, lambda: self._paused)
        self.ready = asyncio.Event()

    async def start(self) -> None:
        """
        Connect and join the group.

        Raises:
            BrokerUnavailable: Kafka does not answer, or a topic does not exist.
        """
        self._consumer.subscribe(topics=list(self._starts), listener=Listener(self.revoked, self.assigned))
        try:
            with asking_kafka():
                async with asyncio.timeout(START_DEADLINE_S):
                    await self.memory.start()
        except (BrokerUnavailable, asyncio.CancelledError):
            await self._leave()
            raise

    async def stop(self) -> None:
        """Commit what is finished and leave the group."""
        await self.commits.end()
        await self._leave()

    async def _leave(self) -> None:
        await part_from(self._consumer, COMMIT_DEADLINE_S * 2)

    def abandon(self) -> None:
        """Let this client change nothing any more: another takes its place."""
        self._abandoned = True
        self.commits.allowed = False
        for each in self._assigned.values():
            each.lost = True
        self._assigned = {}

    async def poll(self, most: int, wait_s: float) -> list[tuple[Assigned, Record]]:
        """
        Return up to *most* records, partition by partition in order.

        Never cancelled: that would leave the client's guard against dead pollers switched off for ever. A client that was
        abandoned is stopped under its poller, and returns nothing.
        """
        try:
            return await self._poll(most, wait_s)
        except (ConsumerStoppedError, BrokerUnavailable):
            if not self._abandoned:
                raise
            return []

    async def _poll(self, most: int, wait_s: float) -> list[tuple[Assigned, Record]]:
        if self._failure is not None:
            raise self._failure
        try:
            for key, start in (await self.memory.recreated(self._assigned)).items():
                self._begin_anew(key, start)
            before = [key for key in self._assigned if key.topic in self._first]
            batches = await self._consumer.getmany(*before, timeout_ms=0, max_records=most) if before else {}
            batches = batches or await self._consumer.getmany(timeout_ms=int(wait_s * 1000), max_records=most)
        except NoOffsetForPartitionError:  # asked before the position was set, which the assignment does itself
            return []
        except OffsetOutOfRangeError as error:
            with suppress(KafkaError):  # a rebalance took it, or the broker is away: the next poll says so again
                await self._begin_again(error.args[0])
            return []
        except (KafkaError, RuntimeError) as error:  # a damaged batch, a right that was taken: other lanes go on
            log.warning("kafka.poll_failed", source=self.name, error=type(error).__name__)
            failed(Resource.KAFKA, "poll")
            self._take_back(self._assigned)
            await asyncio.sleep(FAILED_POLL_S)
            batches = await one_by_one(self._consumer, self._assigned, most)
        except (UnicodeDecodeError, ValueError) as error:
            log.warning("kafka.unreadable_record", source=self.name, error=type(error).__name__)
            return await self._step_over()
        return [pair for key, batch in batches.items() for pair in self._observe(key, map(as_record, batch))]

    async def _step_over(self) -> list[tuple[Assigned, Record]]:
        """Return what is up to a record that cannot be parsed, and a stand-in for it."""
        under, self._reads_ahead = dict(self._assigned), True
        offsets = {key: each.next_offset for key, each in under.items()}
        try:
            found = await step_over(self._consumer, offsets, self.standing.position)
        except KafkaError:  # a rebalance took the partition: whoever has it now meets the record again
            found = []
        # What was assigned anew meanwhile begins at what is committed: this is none of its.
        mine = [(key, records) for key, records in found if self._assigned.get(key) is under.get(key)]
        observed = [pair for key, records in mine for pair in self._observe(key, records)]
        self._take_back(self._assigned.keys() - {key for key, _ in mine})
        self._reads_ahead = False
        return observed

    def _take_back(self, keys: Iterable[TopicPartition]) -> None:
        """Let the client read again what it passed and nobody has seen; a new assignment has passed nothing."""
        if self.standing.assignment() is self._built_for:
            for key in keys:
                with suppress(KafkaError):
                    self._consumer.seek(key, self._assigned[key].next_offset)

    async def _begin_again(self, offsets: Mapping[TopicPartition, int]) -> None:
        """
        Go on at the beginning of partitions whose log no longer has the offset that is next, and let everybody know.

        Records were dropped unread, or the topic was made anew. Ids absorb what is read twice.
        """
        starts = await self._consumer.beginning_offsets(list(offsets))
        for key, wanted in offsets.items():
            start = starts[key]
            lost = max(0, start - wanted)
            log.critical(
                "kafka.offset_out_of_range", topic=key.topic, partition=key.partition, wanted=wanted, start=start
            )
            metrics.child(metrics.OUT_OF_RANGE, self.name, key.topic).inc()
            metrics.child(metrics.RECORDS_LOST, self.name, key.topic).inc(lost)
            self.flights.note(key, "out_of_range", wanted)
            self._begin_anew(key, start)

    def _begin_anew(self, key: TopicPartition, start: int) -> None:
        self.flights.note(key, "begins_again", start)
        self._consumer.seek(key, start)
        if (before := self._assigned.get(key)) is not None:
            before.lost = True
            self._assigned[key] = Assigned(key, start, self.flights.of(key))

    def _observe(self, key: TopicPartition, records: Iterable[Record]) -> list[tuple[Assigned, Record]]:
        if (assigned := self._assigned.get(key)) is None:
            return []
        observed = [(assigned, record) for record in records]
        for _, record in observed:
            assigned.observed(record)
        if observed:
            self.last_record_at = time.monotonic()
        return observed

    def pause(self, *, paused: bool) -> None:
        """Stop or resume fetching; the flags are put again after a rebalance."""
        if paused != self._paused:
            (self._consumer.pause if paused else self._consumer.resume)(*self._assigned)
            self._paused = paused
            for key in self._assigned:
                self.flights.note(key, "paused" if paused else "resumed")

    async def commit(self) -> None:
        """Commit what is finished, one commit at a time, within its deadline; a refused one is tried again later."""
        await self.commits.commit()

    def _committable(self, each: Assigned) -> int:
        """Return the lowest unfinished offset; past markers and gaps at the end, which nobody is to read again."""
        if each.tracker.unfinished or self._reads_ahead:  # the client is past records that nobody has seen
            return each.tracker.committable
        return max(each.tracker.committable, self.standing.position(each.key))

    @property
    def paused(self) -> bool:
        """Whether fetching is stopped because enough waits."""
        return self._paused

    def _note(self, key: TopicPartition, transition: str, offset: int) -> None:
        self.flights.note(key, transition, offset)

    def assignments(self) -> list[Assigned]:
        """Return the assignments that stand."""
        return list(self._assigned.values())

    def positions(self) -> list[tuple[str, int]]:
        """Return the partitions that are assigned."""
        return [(key.topic, key.partition) for key in self._assigned]

    async def revoked(self) -> None:
        """Finish, commit, forget; runs inside the rebalance, while the whole group waits."""
        self.ready.clear()
        await self._before_revoke()
        await self.commits.end()
        for each in self._assigned.values():
            each.lost = True
            self.flights.note(each.key, "revoked", each.tracker.committable)
        self._assigned = {}

    async def assigned(self, keys: Iterable[TopicPartition]) -> None:
        """Build everything anew; a failure here is raised by the next poll, as the client would only log it."""
        keys = set(keys)
        if self._abandoned:  # it may be stopped inside a rebalance
            return
        if keys:
            self._consumer.pause(*keys)  # first, as fetching may begin at the next await
        self.rebalances += 1
        try:
            positions = await self.memory.begin(keys)
        except CommitFailedError:
            log.info("kafka.assignment_superseded", source=self.name)  # it joins again, and is assigned again
            return
        except (KafkaError, StateUnavailable, RuntimeError) as error:
            self._failure = BrokerUnavailable(f"{self.name}: no positions after a rebalance: {type(error).__name__}")
            return
        if self._abandoned:
            return
        self._built_for = self.standing.assignment()
        self._assigned = {key: Assigned(key, positions[key], self.flights.of(key)) for key in keys}
        for key in keys:
            self.flights.note(key, "assigned", positions[key])
        self.last_record_at = time.monotonic()
        self.commits.begin()
        if keys and not self._paused:
            self._consumer.resume(*keys)
        self.ready.set()
        log.info("kafka.assigned", source=self.name, partitions=len(keys))
