"""The ledger's rows: read, and settled by compare and set. The rules are in `worker.delivery.ledger`."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.messages import Lane
from schemas.outcomes import OutcomeKind
from worker.delivery.fence import Claimed
from worker.delivery.handover import Plan
from worker.delivery.ledger import STATE_OF, Answer, Entry, State, settle
from worker.delivery.verdicts import Submitted
from worker.policy.verdicts import Reason
from worker.state.batching import Batcher
from worker.state.database import Database
from worker.state.tables import db_now, ledger

_COLUMNS = [ledger.c[column.name] for column in fields(Entry)]
_SELECT = sa.select(*_COLUMNS).where(ledger.c.message_id.in_(sa.bindparam("ids", expanding=True)))
_REASON_OF = {OutcomeKind.REJECTED: Reason.RECIPIENT_REFUSED, OutcomeKind.UNKNOWN: Reason.ALREADY_SEEN}
_KIND_OF = {state: kind for kind, state in STATE_OF.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """
    What a submit came to.

    Attributes:
        holder: Whose claim it was.
        burns: See `worker.delivery.ledger.settle`.
        outcome: Makes the payload, if the row ends.
    """

    message_id: str
    holder: str
    answer: Answer
    burns: bool
    outcome: Callable[[OutcomeKind], bytes]


class Ledger:
    """Reads and settles rows, many at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self, connection: AsyncConnection, ids: Iterable[str], *, locked: bool = False) -> dict[str, Entry]:
        """Return the rows of *ids* that exist."""
        statement = _SELECT.order_by(ledger.c.message_id).with_for_update() if locked else _SELECT
        rows = await connection.execute(statement, {"ids": list(ids)})
        return {row.message_id: _entry(row) for row in rows}

    async def write(self, connection: AsyncConnection, entries: Sequence[Entry]) -> None:
        """Insert or replace *entries*, whose rows the caller has locked."""
        if entries:
            await connection.execute(_upsert(self._database.is_postgresql), [_row(entry) for entry in entries])

    async def settle(self, settlements: Sequence[Settlement]) -> list[Entry | None]:
        """
        Write what submits came to; first writer wins.

        Returns:
            The row after each, or None where the claim was somebody else's by then.

        Raises:
            StateUnavailable: The database does not answer; nothing or everything was written.
        """
        async with self._database.transaction() as connection:
            rows = await self.load(connection, (one.message_id for one in settlements), locked=True)
            after = [self._settled(rows, one) for one in settlements]
            await self.write(connection, [entry for entry in after if entry is not None])
        return [entry or _ended(rows.get(one.message_id)) for entry, one in zip(after, settlements, strict=True)]

    def _settled(self, rows: Mapping[str, Entry], one: Settlement) -> Entry | None:
        before = rows.get(one.message_id)
        after = settle(before, one.holder, one.answer, burns=one.burns) if before else None
        return replace(after, outcome=one.outcome(_KIND_OF[after.state])) if after and after.is_settled else after


class BatchedSettler:
    """
    Settles one claim at a time, and writes for all that gathered; waits while the database is away.

    Urgent messages are written apart, so that a code never waits for a batch of offers.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._urgent: Batcher[Settlement, Entry | None] = Batcher("settle", ledger.settle, forgets=False)
        self._others: Batcher[Settlement, Entry | None] = Batcher("settle", ledger.settle, forgets=False)

    async def settle(self, plan: Plan, claimed: Claimed, submitted: Submitted) -> Entry | None:
        """Write down what the submit of *claimed* came to; return the row afterwards."""
        settlement = Settlement(
            message_id=plan.message_id,
            holder=claimed.holder,
            answer=submitted.answer,
            burns=plan.refusals_burn,
            outcome=lambda kind: plan.outcome(kind, _REASON_OF.get(kind), submitted),
        )
        return await (self._urgent if plan.lane is Lane.URGENT else self._others).ask(settlement)

    async def run(self) -> None:
        """Write for ever; belongs into a TaskGroup."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._urgent.run(), name="settle-urgent")
            tasks.create_task(self._others.run(), name="settle-others")


def _ended(entry: Entry | None) -> Entry | None:
    """Return a row that had ended already: an answer to a settlement that was lost on its way."""
    return entry if entry and entry.is_settled else None


def _entry(row: Any) -> Entry:
    values = row._asdict()
    return Entry(**{**values, "state": State(values["state"])})


def _row(entry: Entry) -> dict[str, Any]:
    return {column.name: getattr(entry, column.name) for column in fields(Entry)}


@cache
def _upsert(is_postgresql: bool) -> Any:
    insert: Any = (postgresql.insert if is_postgresql else sqlite.insert)(ledger)
    names = [column.name for column in fields(Entry)]
    statement = insert.values({**{name: sa.bindparam(name) for name in names}, "updated_at": db_now()})
    changed = {name: statement.excluded[name] for name in names if name != "message_id"}
    return statement.on_conflict_do_update(index_elements=["message_id"], set_={**changed, "updated_at": db_now()})
