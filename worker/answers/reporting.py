"""What was sent, what was not and why, what it cost: counted from the results topic, by campaign, route and category."""

from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from schemas.outcomes import OutcomeKind
from worker.kafka.scanning import scan
from worker.records import Record
from worker.servers import KafkaSettings

NOT_SENT = (
    OutcomeKind.SUPPRESSED, OutcomeKind.SUPERSEDED, OutcomeKind.EXPIRED, OutcomeKind.REJECTED, OutcomeKind.UNKNOWN,
    OutcomeKind.DEAD_LETTERED,
)  # fmt: skip
ENDS = frozenset({*NOT_SENT, OutcomeKind.ACCEPTED})
LATER = ("delivered", "undelivered", "clicked", "converted")  # what providers and links tell afterwards, where they do
GROUPS = ("campaign", "route", "category", "template", "country", "account")
# An outcome is published again after a crash at the most: soon after, and with the same id. So many are remembered.
REMEMBERED = 500_000


@dataclass
class Line:
    """
    What came of the messages of one group.

    Attributes:
        ended: Messages by their last outcome, and later facts by their kind.
        why: Those that were not sent, by reason.
        cost: What providers charged, by currency.
    """

    ended: Counter[str] = field(default_factory=Counter)
    why: Counter[str] = field(default_factory=Counter)
    cost: Counter[str] = field(default_factory=Counter)
    segments: int = 0

    @property
    def sent(self) -> int:
        """Messages that a provider took."""
        return self.ended[OutcomeKind.ACCEPTED]

    @property
    def not_sent(self) -> int:
        """Messages that ended otherwise, or wait for an operator."""
        return sum(self.ended[kind] for kind in NOT_SENT)

    def share(self, part: int) -> float | None:
        """Return *part* of what was sent; None where nothing was."""
        return part / self.sent if self.sent else None

    @property
    def sent_share(self) -> float | None:
        """Of the messages that ended, those that a provider took; None where none did."""
        ended = self.sent + self.not_sent
        return self.sent / ended if ended else None

    def rate(self, kind: str) -> float | None:
        """Return the share of what was sent that somebody told *kind* of; None where nobody ever did."""
        return self.share(self.ended[kind]) if self.ended[kind] else None

    def take_back(self, data: dict[str, Any]) -> None:
        """Count a dead letter no more: it was put back, and ended otherwise."""
        self.ended[data["outcome"]] -= 1
        self.why[data.get("reason") or data["outcome"]] -= 1

    def add(self, data: dict[str, Any]) -> None:
        """Count one outcome."""
        kind = data["outcome"]
        self.ended[kind] += 1
        if kind in NOT_SENT:
            self.why[data.get("reason") or kind] += 1
        if kind == OutcomeKind.ACCEPTED:
            self.segments += data.get("segments") or 0
            if data.get("cost"):
                self.cost[data.get("currency") or ""] += data["cost"]


@dataclass
class Report:
    """
    A stretch of time.

    Attributes:
        by: The fields that a group is named by.
        lines: By the values of those fields.
        days: By the day of the zone that was asked for.
    """

    since: datetime
    until: datetime
    by: Sequence[str]
    lines: dict[tuple[str, ...], Line] = field(default_factory=dict)
    days: dict[date, Line] = field(default_factory=dict)
    total: Line = field(default_factory=Line)

    def ordered(self) -> list[tuple[tuple[str, ...], Line]]:
        """Return the lines, those with most messages first."""
        return sorted(self.lines.items(), key=lambda one: (-one[1].sent - one[1].not_sent, one[0]))


async def make_report(
    settings: KafkaSettings,
    outcomes: str,
    since: datetime,
    until: datetime,
    *,
    by: Sequence[str],
    zone: ZoneInfo,
    campaign: str | None = None,
    tell_total: Callable[[int], None] = lambda _: None,
    look: Callable[[int], object] = lambda _: None,
) -> Report:
    """
    Count the outcomes from *since* up to *until*, by their own times.

    Args:
        settings: Where Kafka is.
        outcomes: The results topic; it keeps 30 days unless configured otherwise.
        since: The first moment that counts.
        until: The first that does not.
        by: Of `GROUPS`.
        zone: Whose days are counted.
        campaign: Only of this one.
        tell_total: Hears how many records there are at the most.
        look: Hears how many more were read.

    Raises:
        BrokerUnavailable: Kafka does not answer to the end.
    """
    report, stopped = Report(since, until, tuple(by)), OrderedDict[str, tuple[dict[str, Any], tuple[Line, ...]]]()
    async for envelope in _once(scan(settings, [outcomes], since, tell_total=tell_total), look):
        at, data = datetime.fromisoformat(envelope["time"]), envelope["data"]
        if not since <= at < until or data.get("message_id") is None or data["outcome"] == OutcomeKind.DEFERRED:
            continue
        if campaign is not None and data.get("campaign") != campaign:
            continue
        group, day = tuple(str(data.get(name) or "") for name in by), at.astimezone(zone).date()
        lines = (report.total, report.lines.setdefault(group, Line()), report.days.setdefault(day, Line()))
        before, counted_in = stopped.pop(data["message_id"], (None, ()))
        for line in counted_in if before is not None and data["outcome"] in ENDS else ():
            line.take_back(before or {})
        for line in lines:
            line.add(data)
        if data["outcome"] == OutcomeKind.DEAD_LETTERED:
            stopped[data["message_id"]] = data, lines
            if len(stopped) > REMEMBERED:
                stopped.popitem(last=False)
    return report


async def _once(records: AsyncIterator[Record], look: Callable[[int], object]) -> AsyncIterator[dict[str, Any]]:
    """Yield each outcome once, however often it was published."""
    seen: OrderedDict[str, None] = OrderedDict()
    async for record in records:
        look(1)
        try:
            envelope = orjson.loads(record.value or b"")
        except orjson.JSONDecodeError:
            continue  # somebody else writes to our topic
        if not isinstance(envelope, dict) or not isinstance(envelope.get("data"), dict) or envelope.get("id") in seen:
            continue
        seen[envelope["id"]] = None
        if len(seen) > REMEMBERED:
            seen.popitem(last=False)
        yield envelope
