"""One assignment of one partition; every assignment is built anew, and an old one changes nothing any more."""

import time
from collections import deque

from aiokafka.structs import TopicPartition

from worker.kafka.flight import Transition
from worker.kafka.tracker import OffsetTracker
from worker.records import Record

EARLIEST_MS, MAX_AHEAD_MS = 946_684_800_000, 300_000  # the year 2000; clocks differ by less than five minutes


class Assigned:
    """
    One assignment of one partition; the object is its epoch.

    Attributes:
        remembered: The committed offset that the state store remembers; None if it has not been told yet.
        moved_at: Monotonic seconds when the lowest unfinished offset last moved.
        flight: Where its transitions are noted.
    """

    __slots__ = (
        "committed",
        "finished_ms",
        "flight",
        "key",
        "lost",
        "moved_at",
        "next_offset",
        "remembered",
        "tracker",
    )

    def __init__(self, key: TopicPartition, position: int, flight: deque[Transition] | None = None) -> None:
        self.key = key
        self.tracker = OffsetTracker(position)
        self.committed = position
        self.remembered: int | None = None
        self.finished_ms: int | None = None
        self.next_offset = position
        self.lost = False
        self.moved_at = time.monotonic()
        self.flight: deque[Transition] = deque(maxlen=1) if flight is None else flight

    def observed(self, record: Record) -> None:
        """Note that *record* was polled."""
        now = time.monotonic()
        if not self.tracker.unfinished:
            self.moved_at = now
        self.tracker.observe(record.offset, _believable_ms(record))
        self.next_offset = record.offset + 1
        self.flight.append(Transition(now, "polled", record.offset))

    def finished(self, record: Record) -> None:
        """Note that what came of *record* is durable."""
        now, before = time.monotonic(), self.tracker.committable
        self.tracker.done(record.offset)
        if self.tracker.committable != before:
            self.moved_at = now
        self.finished_ms = _believable_ms(record)
        self.flight.append(Transition(now, "finished", record.offset))


def _believable_ms(record: Record) -> int:
    """Return a record's time in milliseconds since 1970; now, if it is of another unit or of no clock at all."""
    now_ms = int(time.time() * 1000)
    return record.timestamp_ms if EARLIEST_MS <= record.timestamp_ms <= now_ms + MAX_AHEAD_MS else now_ms
