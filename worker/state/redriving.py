"""Rows of the ledger that operators open again, or end: each in one transaction with what goes with it."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from schemas.outcomes import OutcomeKind
from worker.delivery.deferrals import Deferral
from worker.delivery.ledger import Entry, State, conclude, reopen
from worker.state.database import Database
from worker.state.fence import lock_accounts
from worker.state.ledger import Ledger
from worker.state.waiting import Waiting


class Redriving:
    """Opens rows again after a bad deploy, and ends those in whose place a new message goes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ledger = Ledger(database)
        self._waiting = Waiting(database)

    async def reopen(self, wanted: Mapping[str, Callable[[int], Deferral]]) -> set[str]:
        """
        Open the rows of these messages; return the ids of those that were opened.

        Args:
            wanted: By message id, what makes the row to wait, given the step that it goes on with.

        Raises:
            StateUnavailable: The database does not answer; nothing was opened.
        """
        async with self._database.transaction() as connection:
            entries = await self._ledger.load(connection, wanted, locked=True)
            opened = [after for entry in entries.values() if (after := reopen(entry))]
            await self._ledger.write(connection, opened)
            await self._waiting.write(connection, [wanted[one.message_id](one.step) for one in opened])
        return {one.message_id for one in opened}

    async def entries(self, message_ids: Collection[str]) -> dict[str, Entry]:
        """Return the rows of these messages, as they are now."""
        async with self._database.reading() as connection:
            return await self._ledger.load(connection, message_ids)

    async def end_expired(self, accounts: Collection[str], payloads: Mapping[Entry, bytes]) -> set[str]:
        """
        End messages that have expired, so that none of them is sent beside the new one that goes in its place.

        Args:
            accounts: Of the messages; nobody passes their fences meanwhile.
            payloads: Rows as they are to be if there are none, each with its outcome.

        Returns:
            The ids of those that were ended; another may have been sent, or has ended.

        Raises:
            StateUnavailable: The database does not answer; nothing was ended.
        """
        async with self._database.transaction() as connection:
            await lock_accounts(connection, accounts)
            there = await self._ledger.load(connection, {fresh.message_id for fresh in payloads}, locked=True)
            ended = []
            for fresh, payload in payloads.items():
                entry = there.get(fresh.message_id, fresh)
                if entry.state is State.RELEASED and not entry.ambiguous and entry.fingerprint == fresh.fingerprint:
                    ended.append(replace(conclude(entry, OutcomeKind.EXPIRED)[0], outcome=payload))
            await self._ledger.write(connection, ended)
        return {entry.message_id for entry in ended}
