"""A Kafka record as polled, and one to be written: bytes only, whatever client carries them."""

from datetime import UTC, datetime
from typing import NamedTuple

# Marks what stands in for a record that the Kafka client itself cannot parse.
UNREADABLE_HEADER = "x-sms-worker-unreadable"
Headers = tuple[tuple[str, bytes], ...]


class Place(NamedTuple):
    """Where a record is."""

    topic: str
    partition: int
    offset: int


class Record(NamedTuple):
    """
    A record as polled.

    Attributes:
        timestamp_ms: Milliseconds since 1970, set by the producer or the broker.
        headers: In the order written; a name may come twice.
        replays: How often an operator put it back.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    replays: int = 0

    @property
    def place(self) -> Place:
        """Where it is."""
        return Place(self.topic, self.partition, self.offset)

    @property
    def time(self) -> datetime:
        """The record's time, in UTC; the beginning of 1970 if a producer wrote one beyond the year 9999."""
        try:
            return datetime.fromtimestamp(self.timestamp_ms / 1000, UTC)
        except (ValueError, OverflowError, OSError):
            return datetime.fromtimestamp(0, UTC)

    @property
    def size(self) -> int:
        """Bytes that the record holds in memory, near enough to bound them."""
        return (
            len(self.value or b"") + len(self.key or b"") + sum(len(n) + len(v or b"") for n, v in self.headers) + 200
        )


class Outgoing(NamedTuple):
    """A record to be written."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers = ()


class Skip(NamedTuple):
    """
    A record that an operator gave up.

    Attributes:
        reason: As the operator said.
        record_ms: Its time, by which it is told from another record at the same place of a topic that was made again;
            None if that was not noted.
    """

    reason: str
    record_ms: int | None = None


Partition = tuple[str, int]  # a topic's name, and the partition's number


class Position(NamedTuple):
    """
    How far a partition has been read by the deployment, as the state store remembers it.

    Attributes:
        topic_id: Of the topic that it belonged to; empty if the broker did not say.
        next_offset: The next offset to read.
        was_committed: Somebody has read it; otherwise it was only there at the first start.
    """

    topic_id: str
    next_offset: int
    was_committed: bool = True
