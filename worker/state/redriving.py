"""Outcomes of a bad deploy are taken back: in one transaction the ledger's row opens again and the message waits to go."""

from collections.abc import Callable, Mapping

from worker.delivery.deferrals import Deferral
from worker.delivery.ledger import reopen
from worker.state.database import Database
from worker.state.ledger import Ledger
from worker.state.waiting import Waiting


class Redriving:
    """Opens rows again."""

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
