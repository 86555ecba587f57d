"""The flight record: the last transitions of each partition, for whoever has to find out why nothing moved."""

import time
from collections import deque
from typing import Any, NamedTuple

from aiokafka.structs import TopicPartition

MOST = 500


class Transition(NamedTuple):
    """Something that happened to a partition; *offset* names the record, or the next one to read."""

    at: float
    what: str
    offset: int | None


class FlightRecorder:
    """Keeps the last 500 transitions of each partition, across assignments."""

    def __init__(self) -> None:
        self._by_partition: dict[TopicPartition, deque[Transition]] = {}

    def of(self, key: TopicPartition) -> deque[Transition]:
        """Return the transitions of *key*, to add to."""
        return self._by_partition.setdefault(key, deque(maxlen=MOST))

    def note(self, key: TopicPartition, what: str, offset: int | None = None) -> None:
        """Add a transition."""
        self.of(key).append(Transition(time.monotonic(), what, offset))

    def dump(self) -> list[dict[str, Any]]:
        """Return everything but what was only assigned, a partition each, with seconds before now."""
        now = time.monotonic()
        return [
            {
                "topic": key.topic,
                "partition": key.partition,
                "transitions": [f"-{now - its.at:.2f}s {its.what} {its.offset}" for its in transitions],
            }
            for key, transitions in sorted(self._by_partition.items())
            if len(transitions) > 1
        ]
