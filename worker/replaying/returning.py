"""The router's side of a replay: dead letters of `sms.router.replay` become the records they were, and are decided anew."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Protocol

import structlog

from worker.errors import PermanentError
from worker.people import NOBODY, Known
from worker.records import Outgoing, Record
from worker.results import restore
from worker.sealing import Erased
from worker.settings import Intake

log = structlog.get_logger(__name__)
COUNT_HEADER, RUN_HEADER = "x-replay-count", "x-replay-run"


class People(Protocol):
    """Keys that open letters."""

    async def load(self, subjects: Iterable[str], *, create_keys: bool) -> Mapping[str, Known]:
        """Return what is known under each subject; waits while the state store is away."""


class Routing(Protocol):
    """A router of one intake."""

    async def handle(self, records: Sequence[Record]) -> Awaitable[object]:
        """Deal with records, in order; what is returned is done when the broker has everything."""


def letter_back(letter: Record, topic: str, run: str, times: int) -> Outgoing:
    """Return the record that puts a router's *letter* back, sealed as it is."""
    told = [(RUN_HEADER, run.encode()), (COUNT_HEADER, str(times).encode())]
    return Outgoing(topic, letter.key, letter.value or b"", (*letter.headers, *told))


class Writer(Protocol):
    """Writes records."""

    async def enqueue(self, records: Iterable[Outgoing]) -> Awaitable[object]:
        """Put *records* in line; what is returned waits for the broker's word on all of them."""


class ReplayRouter:
    """
    Hands letters to the router of the intake that they came through; what cannot be had back becomes a dead letter again.

    Args:
        intakes: Input topic to its intake.
        routers: By intake; they write as one.
        letters: The router's dead-letter topic.
        given_up: Returns why an operator gave a letter up on its way back, if one did.
    """

    def __init__(
        self,
        people: People,
        intakes: Mapping[str, Intake],
        routers: Mapping[Intake, Routing],
        writer: Writer,
        letters: str,
        given_up: Callable[[Record], PermanentError | None] = lambda _: None,
    ) -> None:
        self._given_up = given_up
        self._people = people
        self._intakes = intakes
        self._routers = routers
        self._writer = writer
        self._letters = letters

    async def handle(self, records: Sequence[Record]) -> Awaitable[object]:
        """Deal with a polled batch, in order."""
        subjects = {dict(record.headers).get("x-dlq-sealed-for", b"").decode(errors="replace") for record in records}
        known = await self._people.load(subjects, create_keys=False)
        judged = [(record, self._original(record, known)) for record in records]
        originals = [original for _, original in judged if original is not None]
        written = [
            await self._routers[intake].handle(list(its))
            for intake, its in groupby(originals, key=lambda original: self._intakes[original.topic])
        ]
        back = [self._letter_again(record) for record, original in judged if original is None]
        return asyncio.gather(*written, await self._writer.enqueue(back))

    def _original(self, record: Record, known: Mapping[str, Known]) -> Record | None:
        """Return what a letter was, or None."""
        headers = dict(record.headers)
        run = headers.get(RUN_HEADER, b"").decode(errors="replace")
        if self._given_up(record):
            return None
        try:
            original = _restored(record, headers, known)
        except (Erased, ValueError, KeyError) as error:
            log.warning("replay.not_restored", run=run, error=type(error).__name__, **record.place._asdict())
            return None
        if original.topic not in self._intakes:
            log.warning("replay.topic_unknown", run=run, origin=original.topic)
            return None
        return original

    def _letter_again(self, record: Record) -> Outgoing:
        times = dict(record.headers).get(COUNT_HEADER, b"0")
        attempts = str(1 + int(times) if times.isdigit() else 1).encode()
        kept = [(n, v) for n, v in record.headers if n not in (COUNT_HEADER, RUN_HEADER, "x-dlq-attempts")]
        return Outgoing(self._letters, record.key, record.value or b"", (*kept, ("x-dlq-attempts", attempts)))


def _restored(record: Record, headers: Mapping[str, bytes], known: Mapping[str, Known]) -> Record:
    key = known.get(headers["x-dlq-sealed-for"].decode(), NOBODY).key
    if key is None:
        raise Erased
    return restore(record, key)._replace(replays=int(headers[COUNT_HEADER]))
