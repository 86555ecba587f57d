"""One assignment of one partition; every assignment is built anew, and an old one changes nothing any more."""

from aiokafka.structs import TopicPartition

from worker.kafka.tracker import OffsetTracker
from worker.records import Record


class Assigned:
    """One assignment of one partition; the object is its epoch."""

    __slots__ = ("committed", "finished_ms", "key", "lost", "next_offset", "tracker")

    def __init__(self, key: TopicPartition, position: int) -> None:
        self.key = key
        self.tracker = OffsetTracker(position)
        self.committed = position
        self.finished_ms: int | None = None
        self.next_offset = position
        self.lost = False

    def finished(self, record: Record) -> None:
        """Note that what came of *record* is durable."""
        self.tracker.done(record.offset)
        self.finished_ms = record.timestamp_ms
