"""How the whole deployment stands, from Kafka and the state store alone: no process needs to answer for that."""

import statistics
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from schemas.messages import Lane
from worker.kafka.backlog import Backlog, open_backlog
from worker.kafka.control import ControlTopic
from worker.kafka.scanning import fetch_records, last_records
from worker.pausing import Pause, PauseFile, Pauses
from worker.records import Record
from worker.state.presence import Presence, Process
from worker.state.telling import Counts, Telling, Told
from worker.tools import Tools

SAMPLE = 300  # outcomes, for rates and latency


@dataclass(frozen=True, slots=True)
class Source:
    """
    An intake or a lane.

    Attributes:
        records: Not finished yet.
        oldest_s: Age of the oldest of them, of the partition that is furthest behind.
        per_second: Finished, between this look and the one before; None at the first.
    """

    name: str
    records: int
    oldest_s: float
    per_second: float | None

    @property
    def drain_s(self) -> float | None:
        """Seconds until it is empty at this rate; None if it does not get there."""
        return self.records / self.per_second if self.records and self.per_second else None


@dataclass(frozen=True, slots=True)
class Ended:
    """An outcome, without anything personal."""

    at: datetime
    lane: str
    template: str
    outcome: str
    reason: str


@dataclass(frozen=True, slots=True)
class Status:
    """
    How things stand.

    Attributes:
        delivery: `live`, or what it is in its place.
        latency_s: Median and the slowest in a hundred, by lane, of what was accepted lately: from its event, or the hour it
            was to wait for.
        letters: Dead letters that nobody has handled, by stage.
        outcomes: The last ones.
    """

    at: datetime
    delivery: str
    processes: Sequence[Process]
    sources: Sequence[Source]
    told: Told
    counts: Counts
    paused: Mapping[str, Pause]
    latency_s: Mapping[str, tuple[float, float]]
    letters: Mapping[str, int]
    outcomes: Sequence[Ended]


class Statusing:
    """Looks, again and again; rates are between two looks."""

    def __init__(self, tools: Tools, backlog: Backlog) -> None:
        self._tools = tools
        self._backlog = backlog
        self._before: tuple[float, dict[str, int]] | None = None
        self._telling = Telling(tools.database, tools.clock)

    async def look(self) -> Status:
        """
        Return how things stand now.

        Raises:
            StateUnavailable: The database does not answer.
            BrokerUnavailable: Kafka does not answer.
        """
        tools, settings = self._tools, self._tools.configuration.settings
        await tools.clock.set()
        ended = await last_records(settings.kafka, tools.topics.outcomes, SAMPLE)
        told = [envelope for record in ended if (envelope := _read(record)) is not None]
        return Status(
            tools.clock.now(),
            settings.delivery.mode.value,
            await Presence(tools.database).alive(),
            await self._sources(),
            await self._telling.read(),
            await self._telling.count(),
            await self._paused(),
            _latency(told),
            await self._letters(),
            [_ended(envelope) for envelope in told[-8:]],
        )

    async def _sources(self) -> list[Source]:
        settings, topics = self._tools.configuration.settings, self._tools.topics
        reads = {
            str(intake): (topics.router_group(intake), [topic.name for topic in its.topics])
            for intake, its in settings.intakes.items()
            if its.topics
        }
        reads["replay"] = (topics.router_group("replay"), [topics.replay])
        for lane in Lane:
            reads[f"sender-{lane}"] = (topics.sender_group(lane), [topics.lane_due(lane), topics.lane(lane)])
        behind = {name: await self._backlog.look(group, its) for name, (group, its) in reads.items()}
        oldest = await fetch_records(settings.kafka, [one.oldest for one in behind.values() if one.oldest is not None])
        now, finished = self._tools.clock.monotonic(), {name: one.ends - one.records for name, one in behind.items()}
        before, self._before = self._before, (now, finished)
        found = []
        for name, one in behind.items():
            first = oldest.get(one.oldest) if one.oldest is not None else None
            age_s = (self._tools.clock.now() - first.time).total_seconds() if first is not None else 0.0
            rate = None if before is None else max(0, finished[name] - before[1].get(name, 0)) / (now - before[0])
            found.append(Source(name, one.records, max(0.0, age_s), rate))
        return found

    async def _paused(self) -> Mapping[str, Pause]:
        pauses, settings = Pauses(tells=False), self._tools.configuration.settings
        PauseFile(settings.pauses_in, pauses, self._tools.clock).look()
        await ControlTopic(settings.kafka, self._tools.topics.control, pauses, self._tools.clock).catch_up()
        return pauses.paused

    async def _letters(self) -> dict[str, int]:
        topics = self._tools.topics
        stages = {"router": topics.router_dead_letters, **{lane.value: topics.lane_dead_letters(lane) for lane in Lane}}
        left: dict[str, int] = {}
        for stage, topic in stages.items():
            there = await self._backlog.look(None, [topic])
            left[stage] = max(0, there.kept - await self._tools.operating.count_handled(there.starts))
        return left


@asynccontextmanager
async def open_statusing(tools: Tools) -> AsyncIterator[Statusing]:
    """
    Connect, until the block ends.

    Raises:
        BrokerUnavailable: Kafka does not answer.
    """
    async with AsyncExitStack() as stack:
        yield Statusing(tools, await stack.enter_async_context(open_backlog(tools.configuration.settings.kafka)))


def _read(record: Record) -> dict[str, Any] | None:
    try:
        envelope = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return None
    return envelope if isinstance(envelope, dict) and isinstance(envelope.get("data"), dict) else None


def _ended(envelope: Mapping[str, Any]) -> Ended:
    data = envelope["data"]
    what = data.get("template") or data.get("event", {}).get("type", "")
    at = datetime.fromisoformat(envelope["time"])
    return Ended(at, data.get("lane") or "", what, data.get("outcome", ""), data.get("reason") or "")


def _latency(told: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, float]]:
    """Return median and 99th percentile by lane; what was deferred waited for its hour, and says nothing."""
    took: dict[str, list[float]] = {}
    for envelope in told:
        data = envelope["data"]
        if data.get("outcome") == "accepted" and data.get("submitted_at") and not data.get("step"):
            began, ended = (datetime.fromisoformat(each) for each in (data["event"]["time"], data["submitted_at"]))
            took.setdefault(data["lane"], []).append((ended - began).total_seconds())
    found = {}
    for lane, its in took.items():
        slowest = statistics.quantiles(its, n=100, method="inclusive")[98] if len(its) > 1 else its[0]
        found[lane] = statistics.median(its), slowest
    return found
