"""Live messages first: what an operator puts back waits until little is ahead of it on its lane."""

from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager

from schemas.messages import Lane
from worker.clock import Clock
from worker.kafka.backlog import Backlog, open_backlog
from worker.settings import Settings
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
        tell: Called with what is waited for, and with "" when nothing is.
    """

    def __init__(self, backlog: Backlog, settings: Settings, clock: Clock, tell: Callable[[str], None]) -> None:
        self._backlog = backlog
        self._settings = settings
        self._topics = Topics(settings.kafka.prefix)
        self._clock = clock
        self._tell = tell
        self._room: dict[str, int] = {}

    async def let_in(self, messages: int, lanes: Collection[Lane], *, events: bool = False) -> None:
        """
        Wait until *messages* more fit; asks the broker only when what it granted last is used up.

        Args:
            messages: How many will be put back.
            lanes: Where they will be, by and by.
            events: They go by the router, whose topic must be near its end too.

        Raises:
            BrokerUnavailable: Kafka does not answer.
        """
        for name, most, (group, topics) in self._ways(lanes, events=events):
            while self._room.get(name, 0) <= 0:
                ahead = await self._backlog.of(group, topics)
                self._room[name] = most - ahead
                if self._room[name] <= 0:
                    self._tell(f"{ahead:,} ahead in {name}")
                    await self._clock.sleep(ASK_EVERY_S)
            self._tell("")
            self._room[name] -= messages

    def _ways(self, lanes: Collection[Lane], *, events: bool) -> Iterable[tuple[str, int, Way]]:
        names, prefix = self._topics, self._settings.kafka.prefix
        for lane in sorted(lanes):
            most = max(1, self._settings.lane(lane).slots // 2)
            yield f"lane {lane}", most, (f"{prefix}-sender-{lane}", (names.lane(lane), names.lane_due(lane)))
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
        yield LiveFirst(backlog, settings, tools.clock, tell)
