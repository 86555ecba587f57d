"""Which record may be worked on next: any, in the order they came, but never two of one key at once."""

from collections import deque
from typing import NamedTuple

from worker.kafka.assigned import Assigned
from worker.records import Record

Key = bytes | tuple[str, int, int]


class Job(NamedTuple):
    """A record, the assignment it came under, and the key that nobody else may work on meanwhile."""

    key: Key
    assigned: Assigned
    record: Record


class Scheduler:
    """
    Queues by key.

    A key stays active until its job is done, across rebalances: a record that is delivered again waits for the attempt
    that is still running.
    """

    def __init__(self) -> None:
        self._queues: dict[Key, deque[Job]] = {}
        self._ready: deque[Key] = deque()
        self._active: set[Key] = set()
        self.waiting = 0
        self.waiting_bytes = 0

    @property
    def active(self) -> int:
        """How many jobs are being worked on."""
        return len(self._active)

    def add(self, assigned: Assigned, record: Record) -> None:
        """Queue *record* behind those of its key; one without a key stands for itself."""
        key: Key = record.key if record.key is not None else (record.topic, record.partition, record.offset)
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = deque()
            if key not in self._active:
                self._ready.append(key)
        queue.append(Job(key, assigned, record))
        self.waiting += 1
        self.waiting_bytes += record.size

    def next(self) -> Job | None:
        """Take the next job whose key is free; its key is then active."""
        while self._ready:
            key = self._ready.popleft()
            queue = self._queues.get(key)
            job = self._take(queue) if queue else None
            if queue is not None and not queue:
                del self._queues[key]
            if job is not None:
                self._active.add(key)
                return job
        return None

    def is_active(self, key: Key) -> bool:
        """Return whether a record of *key* is being worked on."""
        return key in self._active

    def find(self, assigned: Assigned, offset: int) -> Job | None:
        """Return a job that waits, by its place; looks at every one."""
        waiting = (job for queue in self._queues.values() for job in queue)
        return next((job for job in waiting if job.assigned is assigned and job.record.offset == offset), None)

    def done(self, job: Job, *, again: bool = False) -> None:
        """Free the job's key; *again* puts the job back at the head of its key's queue."""
        self._active.discard(job.key)
        if again:
            self._queues.setdefault(job.key, deque()).appendleft(job)
            self.waiting += 1
            self.waiting_bytes += job.record.size
        if job.key in self._queues:
            self._ready.append(job.key)

    def _take(self, queue: deque[Job]) -> Job | None:
        """Pop the first job whose assignment still stands."""
        while queue:
            job = queue.popleft()
            self.waiting -= 1
            self.waiting_bytes -= job.record.size
            if not job.assigned.lost:
                return job
        return None
