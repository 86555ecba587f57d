"""What the sender must know of a message before it decides: its ledger row, and whom it is for. One read for many."""

import asyncio
import time
from collections.abc import Sequence
from typing import NamedTuple

from schemas.messages import Lane, Message
from worker.people import NOBODY, Found
from worker.state.batching import Batcher
from worker.state.database import Database
from worker.state.ledger import Ledger
from worker.state.people import People
from worker.telemetry import metrics


class Question(NamedTuple):
    """A message by its id, and its recipient's keyed hash."""

    message_id: str
    recipient: str


class Lookup:
    """Answers for many messages at once."""

    def __init__(self, database: Database, people: People) -> None:
        self._database = database
        self._ledger = Ledger(database)
        self._people = people

    async def find(self, questions: Sequence[Question]) -> list[Found]:
        """
        Return what is known of each message, in order.

        Raises:
            StateUnavailable: The database does not answer.
        """
        async with self._database.reading() as connection:
            entries = await self._ledger.load(connection, {one.message_id for one in questions})
            people = await self._people.read(connection, {one.recipient for one in questions})
        return [Found(entries.get(one.message_id), people.get(one.recipient, NOBODY)) for one in questions]


class BatchedLookup:
    """
    Answers for one message at a time, and reads for all that gathered; waits while the database is away.

    Urgent messages are read apart, so that a code never waits for a batch of offers.
    """

    def __init__(self, database: Database, people: People) -> None:
        self._urgent: Batcher[Question, Found] = Batcher("lookup", Lookup(database.urgent, people).find)
        self._others: Batcher[Question, Found] = Batcher("lookup", Lookup(database, people).find)

    async def find(self, message: Message) -> Found:
        """Return the ledger's row of *message* and its recipient."""
        began = time.monotonic()
        batcher = self._urgent if message.lane is Lane.URGENT else self._others
        found = await batcher.ask(Question(message.id, message.recipient))
        metrics.child(metrics.LOOKUP_S, message.lane).observe(time.monotonic() - began)
        return found

    async def run(self) -> None:
        """Answer for ever; belongs into a TaskGroup."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._urgent.run(), name="lookup-urgent")
            tasks.create_task(self._others.run(), name="lookup-others")
