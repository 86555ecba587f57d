"""How far a source has come, and whether its client still works: what can be seen of it without asking the broker."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from worker.kafka.assigned import Assigned

FRESH_MS = 5_000


class Standing:
    """
    Looks at a consumer.

    Args:
        assigned: The assignments that stand.
        paused: Whether fetching is stopped because enough waits.

    Attributes:
        topics: That it reads.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        topics: Iterable[str],
        assigned: Callable[[], Mapping[TopicPartition, Assigned]],
        paused: Callable[[], bool],
    ) -> None:
        self._consumer = consumer
        self.topics = tuple(topics)
        self._assigned = assigned
        self._paused = paused

    def lag(self) -> dict[str, int]:
        """Return unread and unfinished records by topic, as far as the last fetch knew."""
        lag: dict[str, int] = dict.fromkeys(self.topics, 0)
        for key, each in self._assigned().items():
            end = self._consumer.highwater(key) or 0
            start = each.tracker.committable if each.tracker.unfinished else self.position(key)
            lag[key.topic] += max(0, end - start)
        return lag

    def lag_s(self) -> dict[str, float]:
        """
        Return the age of the oldest record that is not finished, in seconds, by topic; 0 if all are.

        Of what is not read yet only the last fetch's time is known, so it counts from there.
        """
        now_ms, lag = time.time() * 1000, dict.fromkeys(self.topics, 0.0)
        for key, each in self._assigned().items():
            since_ms: float | None = each.tracker.oldest_ms
            if since_ms is None and self.position(key) < (self._consumer.highwater(key) or 0):
                since_ms = self._consumer.last_poll_timestamp(key)
            if since_ms is not None:
                lag[key.topic] = max(lag[key.topic], (now_ms - since_ms) / 1000)
        return lag

    def behind_s(self) -> dict[tuple[str, int], float]:
        """
        Return how far behind the end of the log each partition is, in seconds, where that is known.

        0 where everything has been read and finished, by a fetch of the last seconds: if the broker is away, nobody knows.
        """
        now_ms, behind = time.time() * 1000, {}
        for key, each in self._assigned().items():
            end, fetched_ms = self._consumer.highwater(key), self._consumer.last_poll_timestamp(key)
            fresh = fetched_ms is not None and 0 <= now_ms - fetched_ms < FRESH_MS
            if fresh and end is not None and not each.tracker.unfinished and self.position(key) >= end:
                behind[key.topic, key.partition] = 0.0
            elif fresh and each.finished_ms is not None:
                behind[key.topic, key.partition] = max(0.001, (now_ms - each.finished_ms) / 1000)
        return behind

    def partitions(self) -> set[tuple[str, int]]:
        """Return every partition of its topics, whoever reads it; none of a topic that does not exist."""
        return {(topic, n) for topic in self.topics for n in self._consumer.partitions_for_topic(topic) or ()}

    def unread(self, assigned: Assigned) -> int:
        """Return how many offsets of a partition have not been read, as far as the last fetch knew."""
        end, stable = self._consumer.highwater(assigned.key) or 0, self._consumer.last_stable_offset(assigned.key)
        # What belongs to a transaction that is still open cannot be read, and is nobody's fault here.
        readable = min(end, stable) if stable is not None and stable >= 0 else end
        return max(0, readable - self.position(assigned.key))

    def fetch_is_dead(self) -> bool:
        """Return whether the client's own fetch task has ended, which it tells nobody."""
        fetcher = getattr(self._consumer, "_fetcher", None)
        task = getattr(fetcher, "_fetch_task", None)
        return task is not None and task.done()

    def broker_answers(self) -> bool:
        """Return whether any partition was fetched of late; while none is assigned, whether a connection stands."""
        if self._consumer._closed:  # noqa: SLF001  a client that was given up says nothing of the broker
            return True
        if not self._assigned():
            connections: list[Any] = list(self._consumer._client._conns.values())  # noqa: SLF001
            return any(connection.connected() for connection in connections)
        if self._paused():
            return True
        fetched = [self._consumer.last_poll_timestamp(key) for key in self._assigned()]
        return any(ms is not None and 0 <= time.time() * 1000 - ms < FRESH_MS for ms in fetched)

    def assignment(self) -> Any:
        """Return the client's own assignment; another object after each rebalance, and sooner than anybody is told."""
        return getattr(self._consumer._subscription.subscription, "assignment", None)  # noqa: SLF001

    def position(self, key: TopicPartition) -> int:
        """Return the next offset to read, as the client has it now; markers and gaps are behind it."""
        assignment = self.assignment()
        state = assignment.state_value(key) if assignment is not None else None
        return getattr(state, "_position", None) or 0  # None while a rebalance takes it away
