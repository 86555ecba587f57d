"""Live messages first: what an operator puts back waits until little is ahead of it on its lane."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager

from schemas.messages import Lane
from worker.clock import Clock
from worker.kafka.backlog import Backlog, open_backlog
from worker.policy.verdicts import Reason
from worker.settings import Settings
from worker.state.waiting import Waiting
from worker.tools import Tools
from worker.topics import Topics

ASK_EVERY_S = 0.5
Way = tuple[str, tuple[str, ...]]  # a group, and the topics that it reads


class LiveFirst:
    """
    Lets in what fits behind the live messages.

    Put back at any rate it would stand in the lanes before what is published next. So no more of it is let into a lane than
    half of what one sender works on at once: all of it is then at the fence, where live messages go first.

    Args:
        waiting: How many messages wait in the database, by lane and reason.
        tell: Called with what is waited for, and with "" when nothing is.
    """

    def __init__(
        self,
        backlog: Backlog,
        waiting: Callable[[], Awaitable[Mapping[tuple[str, str], int]]],
        settings: Settings,
        clock: Clock,
        tell: Callable[[str], None],
    ) -> None:
        self._backlog = backlog
        self._waiting = waiting
        self._settings = settings
        self._topics = Topics(settings.kafka.prefix)
        self._clock = clock
        self._tell = tell
        self._room: dict[str, int] = {}
        self.waited_s = 0.0

    async def let_in(self, messages: int, lanes: Collection[Lane], *, events: bool = False) -> float:
        """
        Wait until *messages* more fit; asks the broker only when what it granted last is used up.

        Returns:
            Seconds waited, which `waited_s` sums up: what was decided before may be true no more.

        Args:
            messages: How many will be put back.
            lanes: Where they will be, by and by.
            events: They go by the router, whose topic must be near its end too.

        Raises:
            BrokerUnavailable: Kafka does not answer.
        """
        began = self._clock.monotonic()
        for name, most, (group, topics) in self._ways(lanes, events=events):
            while self._room.get(name, 0) <= 0:
                ahead = await self._backlog.of(group, topics) + await self._on_their_way(name)
                self._room[name] = most - ahead
                if self._room[name] <= 0:
                    self._tell(f"{ahead:,} ahead in {name}")
                    await self._clock.sleep(ASK_EVERY_S)
            self._tell("")
            self._room[name] -= messages
        waited_s = self._clock.monotonic() - began
        self.waited_s += waited_s
        return waited_s

    async def _on_their_way(self, name: str) -> int:
        """Return how many messages that were redriven are not on their lane yet."""
        waiting = await self._waiting()
        return sum(count for (lane, why), count in waiting.items() if f"lane {lane}" == name and why == Reason.REDRIVEN)

    def _ways(self, lanes: Collection[Lane], *, events: bool) -> Iterable[tuple[str, int, Way]]:
        names, prefix = self._topics, self._settings.kafka.prefix
        for lane in sorted(lanes):
            most = max(1, self._settings.lane(lane).slots // 2)
            yield f"lane {lane}", most, (names.sender_group(lane), (names.lane(lane), names.lane_due(lane)))
        if events:
            most = min((self._settings.lane(lane).slots // 2 for lane in lanes), default=50)
            yield "the router", max(1, most), (f"{prefix}-router-replay", (names.replay,))


@asynccontextmanager
async def open_live_first(tools: Tools, tell: Callable[[str], None]) -> AsyncIterator[LiveFirst]:
    """
    Connect, until the block ends.

    Raises:
        BrokerUnavailable: Kafka does not answer.
    """
    settings = tools.configuration.settings
    async with open_backlog(settings.kafka) as backlog:
        yield LiveFirst(backlog, Waiting(tools.database).count, settings, tools.clock, tell)
