"""A lane's dead letters: kept whole and sealed, and told on the results topic."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from schemas.messages import Lane, Message
from schemas.outcomes import OutcomeKind
from worker.clock import Clock
from worker.errors import PermanentError
from worker.people import NOBODY, Known
from worker.records import Outgoing, Record
from worker.results import Facts, Outcomes, day_subject, dead_letter
from worker.sealing import Pepper
from worker.telemetry import metrics


class People(Protocol):
    """Keys that seal what concerns people."""

    async def load(self, subjects: Iterable[str], *, create_keys: bool) -> Mapping[str, Known]:
        """Return what is known under each subject."""


class Writer(Protocol):
    """Writes records."""

    async def publish(self, outgoing: Outgoing) -> None:
        """Write a record; return when the broker has it."""


class LaneLetters:
    """Writes the dead letters of one lane."""

    def __init__(
        self,
        lane: Lane,
        topic: str,
        people: People,
        writer: Writer,
        outcomes: Outcomes,
        pepper: Pepper,
        clock: Clock,
    ) -> None:
        self._lane = lane
        self._topic = topic
        self._people = people
        self._writer = writer
        self._outcomes = outcomes
        self._pepper = pepper
        self._clock = clock

    async def put(self, record: Record, error: PermanentError, message: Message | None) -> None:
        """Keep *record* with its reason; return when the broker has it."""
        day = day_subject(self._clock.now())
        known = await self._people.load({day} | ({message.recipient} if message else set()), create_keys=True)
        key = known.get(message.recipient if message else "", NOBODY).key or known[day].key
        if key is None:
            raise RuntimeError("the key of the day was just made")
        letter = dead_letter(
            self._topic,
            self._lane.value,
            record,
            error,
            key,
            self._pepper,
            _about(message),
            message.replays if message else 0,
        )
        metrics.child(metrics.DEAD_LETTERS, self._lane, error.code).inc()
        await self._writer.publish(letter)
        if message is not None:
            payload = self._outcomes.payload(message, OutcomeKind.DEAD_LETTERED, error.code, Facts(), self._clock.now())
            await self._writer.publish(self._outcomes.record(message.id, payload))


def _about(message: Message | None) -> dict[str, str | None]:
    if message is None:
        return {}
    event = message.event
    return {
        "event-id": event.id,
        "event-source": event.source,
        "event-type": event.type,
        "route": message.route,
        "template": message.template,
        "message-id": message.id,
        "campaign": message.campaign,
        "event-traceparent": message.traceparent,
    }
