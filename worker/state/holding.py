"""The state store as seen from a stage: every call waits while the database is away."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from schemas.messages import Lane
from worker.delivery.deferrals import Due
from worker.people import Change, Known
from worker.state.batching import hold_until_back
from worker.state.guarding import Guarding
from worker.state.people import People
from worker.state.projection import Projector
from worker.state.waiting import SeenEvents, Waiting


class HoldingPeople:
    """Looks people up, however long it takes."""

    def __init__(self, people: People) -> None:
        self._people = people

    async def load(self, subjects: Iterable[str], *, create_keys: bool) -> Mapping[str, Known]:
        """Return what is known under each subject."""
        return await hold_until_back("people")(self._people.load, list(subjects), create_keys=create_keys)


class HoldingProjector:
    """Projects, however long it takes."""

    def __init__(self, projector: Projector) -> None:
        self._projector = projector

    async def project(self, changes: Sequence[Change]) -> None:
        """Write *changes* in order."""
        await hold_until_back("projection")(self._projector.project, changes)

    async def caught_up(
        self, behind_s: Mapping[tuple[str, int], float], partitions: Collection[tuple[str, int]] = ()
    ) -> None:
        """Write down how far behind each partition is, of all that there are."""
        await hold_until_back("projection")(self._projector.caught_up, behind_s, partitions)

    async def read_once(self, partitions: Collection[tuple[str, int]] | None, since: float) -> bool:
        """Return whether every partition has been read up to *since*, or for None whether somebody found that so."""
        return await hold_until_back("projection")(self._projector.read_once, partitions, since)


class HoldingMemory:
    """Remembers events, however long it takes."""

    def __init__(self, seen_events: SeenEvents, guarding: Guarding) -> None:
        self._seen_events = seen_events
        self._guarding = guarding

    async def remember(self, seen: Sequence[tuple[str, float]]) -> None:
        """Note when events happened, by their keyed hash."""
        await hold_until_back("seen_events")(self._seen_events.remember, seen)

    async def verified(self, subjects: Collection[str]) -> None:
        """Note that people typed in their codes."""
        await hold_until_back("guard")(self._guarding.verified, subjects)


class HoldingWaiting:
    """Hands out messages that are due, however long it takes."""

    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting

    async def take(self, lane: Lane, most: int) -> list[Due]:
        """Return messages that are due; nobody else gets them for a minute."""
        return await hold_until_back("deferred")(self._waiting.take, lane, most)

    async def free(self, lane: Lane) -> None:
        """Let messages go that wait for a flood which holds no more."""
        await hold_until_back("deferred")(self._waiting.free, lane)

    async def moved(self, published: Sequence[Due]) -> None:
        """Delete what was published, unless it was deferred again."""
        await hold_until_back("deferred")(self._waiting.moved, published)
