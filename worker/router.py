"""
START HERE. One domain event becomes messages on the lanes, or a recorded reason why not.

    decode -> find routes -> messages -> publish -> commit

A polled batch at a time: everybody's contact and key come in one read, everything is written in order, and the batch's
offsets are committed when the broker has all of it. Contact and consent events are projected instead.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

import structlog

from schemas.events import EVENTS
from schemas.events.consent import ConsentRevoked
from schemas.events.contact import ContactErased
from schemas.outcomes import OutcomeKind
from worker.clock import Clock
from worker.errors import DeadLetterReason, Failure, PermanentError
from worker.messages import lane_record
from worker.people import Change, Known
from worker.policy.event_times import arrival
from worker.progress import trace_id_in
from worker.records import Outgoing, Record
from worker.results import MAX_LETTER_BYTES, Outcomes, day_subject, dead_letter
from worker.routing.deciding import Deciding, Decision, GivenUp, Ignored, Projected, Read, Routed, Unrouted
from worker.routing.events import Unusable
from worker.routing.table import nearest
from worker.sealing import Pepper
from worker.slices import Slice
from worker.telemetry import metrics
from worker.telemetry.tracing import spans
from worker.topics import Topics

log = structlog.get_logger(__name__)
PIECE = 500  # messages that one read of contacts and one write are made for
PIECES_IN_FLIGHT = 4
MOST_TYPES_TOLD = 100
LIVE_S = 86_400.0


class People(Protocol):
    """Who is known under a reference, and the keys that seal what concerns them."""

    async def load(self, subjects: Iterable[str], *, create_keys: bool) -> Mapping[str, Known]:
        """Return what is known under each subject; waits while the state store is away."""


class Projector(Protocol):
    """Writes contact and consent events down."""

    async def project(self, changes: Sequence[Change]) -> None:
        """Write *changes* in order; waits while the state store is away."""


class Memory(Protocol):
    """Remembers events that make waiting messages pointless, and codes that were typed in."""

    async def remember(self, seen: Sequence[tuple[str, float]]) -> None:
        """Note when they happened, by their keyed hash; waits while the state store is away."""

    async def verified(self, subjects: Collection[str]) -> None:
        """Note that people typed in their codes, by their keyed hash."""


class Writer(Protocol):
    """Writes records."""

    async def enqueue(self, records: Iterable[Outgoing]) -> Awaitable[object]:
        """Put *records* in line; what is returned waits for the broker's word on all of them."""


# Returns why an operator gave a record up, if one did.
GivingUp = Callable[[Record], PermanentError | None]


class Router:
    """Routes the records of one intake; *intake* is what its metrics say."""

    def __init__(
        self,
        intake: str,
        deciding: Deciding,
        people: People,
        projector: Projector,
        memory: Memory,
        writer: Writer,
        topics: Topics,
        outcomes: Outcomes,
        pepper: Pepper,
        clock: Clock,
        given_up: GivingUp,
    ) -> None:
        self._intake = intake
        self._deciding = deciding
        self._people = people
        self._projector = projector
        self._memory = memory
        self._writer = writer
        self._topics = topics
        self._outcomes = outcomes
        self._pepper = pepper
        self._clock = clock
        self._given_up = given_up
        self._ignored: set[str] = set()

    def adopt(self, deciding: Deciding) -> None:
        """Decide by another routing table from the next batch on."""
        self._deciding = deciding

    async def handle(self, records: Sequence[Record]) -> Awaitable[object]:
        """Deal with a polled batch, in order; what is returned is done when the broker has everything."""
        metrics.child(metrics.RECORDS_READ, self._intake).inc(len(records))
        began = time.monotonic()
        written = deque[Awaitable[object]]()
        async for piece in self._in_pieces(records):
            if len(written) == PIECES_IN_FLIGHT:
                await written.popleft()
            written.append(await self._handle_piece(piece))
        return self._timed(asyncio.gather(*written), began)

    async def _timed(self, written: Awaitable[object], began: float) -> object:
        done = await written
        metrics.child(metrics.ROUTE_S, self._intake).observe(time.monotonic() - began)
        return done

    async def _handle_piece(self, piece: Sequence[Read]) -> Awaitable[object]:
        day = day_subject(self._clock.now())
        known = await self._people.load({day}.union(*(read.subjects() for read in piece)), create_keys=True)
        decided = await self._project(await self._decide(piece, known))
        if seen := [one for read in piece for one in read.seen]:
            await self._memory.remember(seen)
        if verified := {subject for read in piece for subject in read.verified}:
            await self._memory.verified(verified)
        written, its = list[Outgoing](), Slice()
        for read, decision in decided:
            written += self._records(read, decision, known, known[day])
            await its.breathe()
        return await self._writer.enqueue(written)

    async def _decide(self, piece: Sequence[Read], known: Mapping[str, Known]) -> list[tuple[Read, Decision]]:
        decided, its = list[tuple[Read, Decision]](), Slice()
        for read in piece:
            began_ns = time.time_ns() if spans().on else 0
            decided.append((read, self._deciding.decide(read, known)))
            if began_ns:
                _trace("route", read, began_ns)
            await its.breathe()
        return decided

    async def _in_pieces(self, records: Sequence[Record]) -> AsyncIterator[list[Read]]:
        """Decode, and cut a batch so that a campaign of many recipients neither blocks the loop nor fills the memory."""
        piece, size, its = list[Read](), 0, Slice()
        for record in records:
            await its.breathe()
            began_ns = time.time_ns() if spans().on else 0
            read = (
                Read(record, error)
                if (error := self._skipped(record))
                else self._deciding.read(record, self._clock.now())
            )
            if began_ns:
                _trace("decode", read, began_ns)
            self._count_time(read)
            piece.append(read)
            size += 1 + len(read.targets)
            if size >= PIECE:
                yield piece
                piece, size = [], 0
        if piece:
            yield piece

    def _count_time(self, read: Read) -> None:
        """Count an event whose time is not taken as it stands; log a withdrawal, which silences from its arrival."""
        event = read.event
        if isinstance(event, Unusable) or event.doubt is None:
            return
        metrics.child(metrics.EVENT_TIMES, event.doubt).inc()
        if isinstance(event.data, ConsentRevoked | ContactErased):
            log.warning(
                "router.withdrawal_time_not_used", why=event.doubt, type=event.type, **read.record.place._asdict()
            )

    def _skipped(self, record: Record) -> Unusable | None:
        error = self._given_up(record)
        return Unusable(error.failure, {}) if error else None

    async def _project(self, decided: list[tuple[Read, Decision]]) -> list[tuple[Read, Decision]]:
        """Write contact and consent events down; one that the database refuses becomes a dead letter."""
        changes = [decision.change for _, decision in decided if isinstance(decision, Projected)]
        if not changes:
            return decided
        try:
            await self._projector.project(changes)
            self._tell_silence(changes)
        except PermanentError as error:  # not kept: it holds the values of the whole batch
            failure = error.failure
        else:
            return decided
        if len(changes) == 1:
            return [(r, GivenUp(failure, d.envelope) if isinstance(d, Projected) else d) for r, d in decided]
        return [one for pair in decided for one in await self._project([pair])]

    def _tell_silence(self, changes: Iterable[Change]) -> None:
        """Measure how long withdrawals took to silence anything, from their own time, if their record is of today."""
        now = self._clock.now()
        for change in changes:
            arrived, _ = arrival(change.record.time, now)
            if isinstance(change.data, ConsentRevoked) and (now - arrived).total_seconds() < LIVE_S:
                metrics.STOP_TO_SILENCE_S.observe(max(0.0, now.timestamp() - change.at))

    def _records(self, read: Read, decision: Decision, known: Mapping[str, Known], day: Known) -> list[Outgoing]:
        """Return what is written of a decision, and count it."""
        match decision:
            case Routed(messages):
                written = [lane_record(self._topics.lane(message.lane), message) for message in messages]
                if any(len(record.value) > MAX_LETTER_BYTES for record in written):
                    too_large = Failure(DeadLetterReason.TOO_LARGE, "a message of it is too large for its lane")
                    return self._records(read, GivenUp(too_large), known, day)
                self._count("routed")
                for message in messages:
                    metrics.child(metrics.MESSAGES_ROUTED, message.lane, message.route).inc()
                return written
            case Projected():
                self._count("projected")
                return []
            case Ignored(event_type):
                self._count("ignored")
                self._tell_once(event_type)
                return []
            case Unrouted(event, reason):
                self._count("unrouted")
                about = {
                    "id": event.id,
                    "source": event.source,
                    "type": event.type,
                    "time": event.time.isoformat(),
                    "traceparent": event.traceparent,
                }
                return [self._outcomes.for_event(about, OutcomeKind.UNROUTED, reason, self._clock.now())]
            case GivenUp():
                self._count("dead_lettered")
                return self._give_up(read.record, decision, known.get(decision.subject or "", day))

    def _give_up(self, record: Record, given_up: GivenUp, who: Known) -> list[Outgoing]:
        error, envelope = given_up.error, given_up.envelope
        place = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
        trace_id = trace_id_in(envelope.get("traceparent"))
        traced = {"trace_id": trace_id} if trace_id else {}
        log.info("router.dead_letter", reason=error.code, field=error.field, **place, **traced)
        metrics.child(metrics.DEAD_LETTERS, "router", error.code).inc()
        if who.key is None:
            raise RuntimeError("the key of the day is made with the batch")
        about = {f"event-{name}": value for name, value in envelope.items()}
        letter = dead_letter(self._topics.router_dead_letters, "router", record, error, who.key, self._pepper, about)
        if not {"id", "source", "type"} <= envelope.keys():
            return [letter]
        return [
            letter,
            self._outcomes.for_event(envelope, OutcomeKind.DEAD_LETTERED, error.code, self._clock.now()),
        ]

    def _tell_once(self, event_type: str) -> None:
        """Say once that nobody knows a type: it may be another team's, or a slip of the hand."""
        if event_type not in self._ignored and len(self._ignored) < MOST_TYPES_TOLD:
            self._ignored.add(event_type)
            log.warning("router.type_ignored", type=event_type, intake=self._intake, hint=nearest(event_type, EVENTS))

    def _count(self, became: str) -> None:
        metrics.child(metrics.RECORDS, self._intake, became).inc()


def _trace(name: str, read: Read, began_ns: int) -> None:
    """Note a span of an event whose emitter traces it."""
    if not isinstance(read.event, Unusable):
        about = {"messaging.system": "kafka", "sms.event_type": read.event.type, **read.record.place._asdict()}
        spans().past(read.event.traceparent, name, began_ns, about)
