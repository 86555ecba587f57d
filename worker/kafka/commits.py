"""One source's commits: one at a time, none that would land after its assignment is over."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import CommitFailedError, KafkaError
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from worker.kafka.assigned import Assigned
from worker.telemetry.resources import Resource, failed

log = structlog.get_logger(__name__)
COMMIT_DEADLINE_S = 5.0


class Commits:
    """
    Commits what is finished.

    Args:
        name: Of the source.
        assignments: Returns the assignments that stand.
        committable: Returns the offset that may be committed of one.
        note: Notes a transition of a partition in the flight record.

    Attributes:
        allowed: False between the revoke callback's last commit and the next assignment.
        refused_since: Monotonic seconds since when commits are refused; None if they are not.
        committed_at: Monotonic seconds of the last commit that the broker took.
    """

    def __init__(
        self,
        name: str,
        consumer: AIOKafkaConsumer,
        assignments: Callable[[], Iterable[Assigned]],
        committable: Callable[[Assigned], int],
        note: Callable[[TopicPartition, str, int], None],
    ) -> None:
        self._name = name
        self._consumer = consumer
        self._assignments = assignments
        self._committable = committable
        self._note = note
        self._committing: asyncio.Task[None] | None = None
        self.allowed = False
        self.refused_since: float | None = None
        self.committed_at = time.monotonic()

    def begin(self) -> None:
        """Allow commits: partitions were assigned."""
        self.refused_since = None
        self.allowed = True

    async def end(self) -> None:
        """Commit what is finished by now, after a commit that may be under way; then allow none."""
        await self.commit()
        await self.commit()
        if self._committing is not None and not self._committing.done():
            self._committing.cancel()  # it would land after the rebalance, and take the next owner back
        self.allowed = False

    async def commit(self) -> None:
        """Commit what is finished, one commit at a time, within its deadline; a refused one is tried again later."""
        if self._committing is None or self._committing.done():
            offsets = {each: at for each in self._assignments() if (at := self._committable(each)) > each.committed}
            if not offsets or not self.allowed:
                return
            self._committing = asyncio.create_task(self._commit(offsets), name=f"commit-{self._name}")
        _, late = await asyncio.wait({self._committing}, timeout=COMMIT_DEADLINE_S)
        if late:  # the broker neither takes nor refuses it
            self.refused_since = self.refused_since or time.monotonic()

    async def _commit(self, offsets: Mapping[Assigned, int]) -> None:
        try:
            await self._consumer.commit({each.key: OffsetAndMetadata(offset, "") for each, offset in offsets.items()})
        except CommitFailedError:
            self.refused_since = self.refused_since or time.monotonic()
            log.info("kafka.commit_superseded", source=self._name)
        except (KafkaError, RuntimeError) as error:  # the second: its connection was closed meanwhile
            self.refused_since = self.refused_since or time.monotonic()
            log.warning("kafka.commit_failed", source=self._name, error=type(error).__name__)
            failed(Resource.KAFKA, "commit")
        else:
            self.refused_since, self.committed_at = None, time.monotonic()
            for each, offset in offsets.items():
                each.committed = offset
                self._note(each.key, "committed", offset)
