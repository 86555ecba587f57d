"""
Another routing table over a stretch of the real topics, in shadow: who gains a message, who loses one, and what it costs.

Each event is decided twice, by the worker's own code: as the configuration is, and as it would be. Contacts, consents and
suppressions are today's; rates, caps, budgets and what happened meanwhile (`unless`) are left out. Nothing is sent.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from schemas.messages import Message
from worker.errors import PermanentError
from worker.kafka.scanning import scan
from worker.people import NOBODY, Known
from worker.policy.checking import Checked, Checking
from worker.policy.consent import DatedAct, Suppression, check_consent
from worker.policy.verdicts import Defer, Refuse
from worker.records import Record
from worker.routing.deciding import Deciding, Read, Routed
from worker.routing.events import Unusable
from worker.routing.loading import Configuration
from worker.settings import Intake
from worker.state.acts import read_acts
from worker.tools import Tools

PIECE = 200
LONGEST_CHAIN = 5  # a delay, then closing time, then a holiday: a message waits for one thing after the other
NOT_ROUTED = "not routed"


@dataclass(frozen=True, slots=True)
class Shadow:
    """A message of one of the two configurations, and what would become of it."""

    message: Message
    checked: Checked | None
    reason: str | None
    segments: int = 0
    cost: float = 0.0

    @property
    def sent(self) -> bool:
        """Whether it would be sent."""
        return self.reason is None


@dataclass
class Tally:
    """What one route comes to, before and after."""

    before: int = 0
    after: int = 0
    segments_before: int = 0
    segments_after: int = 0
    cost_before: float = 0.0
    cost_after: float = 0.0


@dataclass
class Backtest:
    """
    What came of it.

    Attributes:
        routes: By route, of messages that would be sent.
        reasons: Why messages are not sent, by route and reason, before and after.
        gained: Messages more to somebody for an event, by the route that brings one.
        lost: Messages less, by route and the reason that takes it.
    """

    events: int = 0
    routes: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    reasons: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    gained: Counter[str] = field(default_factory=Counter)
    lost: Counter[tuple[str, str]] = field(default_factory=Counter)
    gainers: set[str] = field(default_factory=set)
    losers: set[str] = field(default_factory=set)

    def note(self, before: Sequence[Shadow], after: Sequence[Shadow]) -> None:
        """Count what one event comes to in both configurations."""
        self.events += 1
        for place, shadows in enumerate((before, after)):
            for one in shadows:
                self._count(one, place)
        ours, theirs = _by_person(before), _by_person(after)
        for person in ours.keys() | theirs.keys():
            self._compare(person, ours.get(person, []), theirs.get(person, []))

    def _count(self, one: Shadow, place: int) -> None:
        if one.reason is not None:
            self.reasons[one.message.route, one.reason][place] += 1
            return
        its = self.routes[one.message.route]
        if place == 0:
            its.before, its.segments_before = its.before + 1, its.segments_before + one.segments
            its.cost_before += one.cost
        else:
            its.after, its.segments_after = its.after + 1, its.segments_after + one.segments
            its.cost_after += one.cost

    def _compare(self, person: str, ours: Sequence[Shadow], theirs: Sequence[Shadow]) -> None:
        before, after = [one for one in ours if one.sent], [one for one in theirs if one.sent]
        if len(after) > len(before):
            known = {one.message.route for one in before}
            new = [one for one in after if one.message.route not in known] or after
            self.gained.update(one.message.route for one in new[: len(after) - len(before)])
            self.gainers.add(person)
        elif len(after) < len(before):
            kept = {one.message.route for one in after}
            gone = [one for one in before if one.message.route not in kept] or before
            for one in gone[: len(before) - len(after)]:
                why = next((its.reason for its in theirs if its.message.route == one.message.route), None)
                self.lost[one.message.route, why or NOT_ROUTED] += 1
            self.losers.add(person)


class Backtesting:
    """
    Runs two configurations beside one another.

    Args:
        tools: Everything open, with the configuration as it is.
        other: As it would be.
    """

    def __init__(self, tools: Tools, other: Configuration) -> None:
        self._tools = tools
        self._sides = [_Side(tools, tools.configuration), _Side(tools, other)]
        self._seen: set[int] = set()

    async def run(
        self, since: datetime, until: datetime, progress: Callable[[int, int], None], topics: Sequence[str] = ()
    ) -> Backtest:
        """
        Return what the events of a stretch come to.

        Args:
            since: From when on, by the records' own times.
            until: Up to when.
            progress: Hears how many records there are, and how many were read.
            topics: Only these; every input topic but contacts and consents, unless given.

        Raises:
            BrokerUnavailable: Kafka does not answer to the end.
            StateUnavailable: The database does not answer.
        """
        intakes = self._tools.configuration.settings.intakes
        feeds = [topic.name for name, its in intakes.items() if name is not Intake.CONTROL for topic in its.topics]
        found, piece, count, total = Backtest(), list[Record](), 0, 0

        def tell_total(records: int) -> None:
            nonlocal total
            total = records
            progress(total, 0)

        chosen = [name for name in feeds if not topics or name in topics]
        async for record in scan(
            self._tools.configuration.settings.kafka, chosen, since, until=until, tell_total=tell_total
        ):
            piece.append(record)
            if len(piece) == PIECE:
                await self._judge(piece, found)
                count += len(piece)
                progress(total, count)
                piece = []
        await self._judge(piece, found)
        progress(total, count + len(piece))
        return found

    async def _judge(self, records: Sequence[Record], found: Backtest) -> None:
        read = [[side.read(record) for side in self._sides] for record in records]
        subjects = {subject for pair in read for one in pair for subject in one.subjects()}
        known = await self._tools.people.load_or_make_up(subjects)
        shadows = [
            [side.shadows(one, known) for side, one in zip(self._sides, pair, strict=True)]
            for pair in read
            if not self._is_repeated(pair[0])
        ]
        persons = {
            its.checked.person for pair in shadows for one in pair for its in one if its.checked and its.checked.person
        }
        async with self._tools.database.reading() as connection:
            acts, suppressed = await read_acts(connection, persons)
        for before, after in shadows:
            found.note(
                [self._sides[0].consenting(one, acts, suppressed) for one in before],
                [self._sides[1].consenting(one, acts, suppressed) for one in after],
            )

    def _is_repeated(self, read: Read) -> bool:
        """Return whether the event was seen already: delivered twice, it is one."""
        if isinstance(read.event, Unusable):
            return False
        name = f"{read.event.source}\x1f{read.event.id}".encode()
        digest = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest())
        if digest in self._seen:
            return True
        self._seen.add(digest)
        return False


class _Side:
    """One of the two configurations."""

    def __init__(self, tools: Tools, configuration: Configuration) -> None:
        settings = tools.configuration.settings
        self._checking = Checking.of(configuration, tools.pepper)
        self._deciding: dict[str, Deciding] = {}
        self._clock = tools.clock
        for intake, its in settings.intakes.items():
            inputs = {topic.name: topic for topic in its.topics}
            deciding = Deciding(intake, settings.deployment, inputs, configuration.table, tools.pepper)
            self._deciding |= dict.fromkeys(inputs, deciding)

    def read(self, record: Record) -> Read:
        """Decode a record."""
        return self._deciding[record.topic].read(record, self._clock.now())

    def shadows(self, read: Read, known: Mapping[str, Known]) -> list[Shadow]:
        """Return the messages of an event, checked as if they were looked at in time."""
        decision = self._deciding[read.record.topic].decide(read, known)
        if not isinstance(decision, Routed):
            return []
        return [self._shadow(message, known.get(message.recipient, NOBODY)) for message in decision.messages]

    def _shadow(self, message: Message, known: Known) -> Shadow:
        now = max(message.event.time, message.not_before or message.event.time)
        for _ in range(LONGEST_CHAIN):
            try:
                checked = self._checking.check(message, known, now)
            except PermanentError as error:
                return Shadow(message, None, f"dead letter: {error.code}")
            match checked.verdict:
                case Refuse(_, reason):
                    return Shadow(message, checked, reason)
                case Defer(until, reason) if checked.number is None:  # nobody knows the contact, today either
                    return Shadow(message, checked, reason)
                case Defer(until, _):
                    now = until
                case _:
                    segments = checked.text.segmentation.segments if checked.text else 0
                    return Shadow(message, checked, None, segments, self._checking.cost(message, checked) or 0.0)
        return Shadow(message, checked, "waits for ever")

    def consenting(
        self, one: Shadow, acts: Mapping[str, list[DatedAct]], suppressed: Mapping[str, list[Suppression]]
    ) -> Shadow:
        """Return *one* as its person's acts decide."""
        if not one.sent or one.checked is None or one.checked.person is None:
            return one
        person, purpose = one.checked.person, self._checking.template(one.message).purpose
        verdict = check_consent(
            acts.get(person, ()), suppressed.get(person, ()), purpose, is_customer=one.checked.is_customer
        )
        return Shadow(one.message, one.checked, verdict.reason) if isinstance(verdict, Refuse) else one


def _by_person(shadows: Sequence[Shadow]) -> dict[str, list[Shadow]]:
    found: dict[str, list[Shadow]] = defaultdict(list)
    for one in shadows:
        found[one.message.recipient].append(one)
    return found
