"""
Which offset may be committed: the lowest that is not finished.

An offset names the *next* record to read. Only offsets that were seen count, so gaps (compaction, transaction markers)
never hold it up.
"""

from collections import deque


class OffsetTracker:
    """
    One assignment of one partition. A new assignment gets a new tracker, so a late `done` of an old one changes nothing.

    Args:
        position: Where reading begins.
    """

    def __init__(self, position: int) -> None:
        self._observed: deque[int] = deque()
        self._times_ms: deque[int] = deque()
        self._done: set[int] = set()
        self._committable = position

    def observe(self, offset: int, time_ms: int = 0) -> None:
        """Note that the record at *offset*, of that time, was polled; offsets rise."""
        self._observed.append(offset)
        self._times_ms.append(time_ms)

    def done(self, offset: int) -> None:
        """Note that what came of the record at *offset* is durable."""
        self._done.add(offset)
        while self._observed and self._observed[0] in self._done:
            finished = self._observed.popleft()
            self._times_ms.popleft()
            self._done.discard(finished)
            self._committable = finished + 1

    @property
    def committable(self) -> int:
        """The offset from which a successor must read."""
        return self._committable

    @property
    def oldest(self) -> int | None:
        """The lowest offset that is not finished; None if all are."""
        return self._observed[0] if self._observed else None

    @property
    def oldest_ms(self) -> int | None:
        """The time of the lowest offset that is not finished, in milliseconds since 1970; None if all are."""
        return self._times_ms[0] if self._times_ms else None

    @property
    def unfinished(self) -> int:
        """How many records are under way or waiting."""
        return len(self._observed) - len(self._done)
