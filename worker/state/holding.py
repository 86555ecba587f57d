"""The router's side of the state store: every call waits while the database is away."""

from collections.abc import Iterable, Mapping, Sequence

from worker.people import Change, Known
from worker.state.batching import hold_until_back
from worker.state.people import People
from worker.state.projection import Projector


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

    async def caught_up(self, behind_s: Mapping[tuple[str, int], float]) -> None:
        """Write down how far behind each partition is."""
        await hold_until_back("projection")(self._projector.caught_up, behind_s)
