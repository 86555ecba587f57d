"""The ledger's rows: read, and settled by compare and set. The rules are in `worker.delivery.ledger`."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.outcomes import OutcomeKind
from worker.delivery.ledger import STATE_OF, Answer, Entry, State, settle
from worker.delivery.verdicts import Submitted
from worker.policy.budget import names
from worker.policy.verdicts import Reason
from worker.state.database import Database
from worker.state.inserting import inserting
from worker.state.many import among, as_stored
from worker.state.now import NOW_POSTGRESQL, NOW_SQLITE, db_now
from worker.state.tables import ledger
from worker.state.tallying import add

_COLUMNS = [ledger.c[column.name] for column in fields(Entry)]
_SELECT = sa.select(*_COLUMNS).where(among(ledger.c.message_id, "ids"))
_KIND_OF = {state: kind for kind, state in STATE_OF.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """
    What a submit came to.

    Attributes:
        claimed: The row as the fence wrote it; nobody else changes it while its holder holds it.
        burns: See `worker.delivery.ledger.settle`, as for *final*.
        outcome: Makes the payload, if the row ends.
        cost: What the provider charged, where it said so.
        after: The row as it will be.
    """

    claimed: Entry
    answer: Answer
    burns: bool
    outcome: Callable[[OutcomeKind], bytes]
    final: bool = False
    cost: float | None = None
    after: Entry = field(init=False)

    def __post_init__(self) -> None:
        """Decide, in the task of whoever settles: a batch of hundreds would keep the event loop."""
        object.__setattr__(self, "after", _after(self))

    @property
    def name(self) -> tuple[str, str]:
        """The message, and who claimed it."""
        return self.claimed.message_id, self.claimed.holder or ""

    def money(self) -> dict[tuple[str, int], float]:
        """Return what its account's tallies of money change by: what was reserved becomes what was charged."""
        reserved, its = self.claimed.reserved, self.claimed
        if reserved is None or its.claimed_at is None:
            return {}
        charged = reserved if self.cost is None else self.cost
        came = {State.SENT: charged, State.REJECTED: 0.0, State.RELEASED: 0.0}.get(self.after.state, reserved)
        return {(name, 0): came - reserved for name in names(its.account or "", its.claimed_at)}


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
            won = await self._compare_and_set(connection, settlements)
            money = Counter[tuple[str, int]]()
            for one in settlements:
                if one.name in won:
                    money.update(one.money())
            await add(connection, money)
            others = [one.claimed.message_id for one in settlements if one.name not in won]
            rows = await self.load(connection, others) if others else {}
        return [one.after if one.name in won else _ended(rows.get(one.claimed.message_id)) for one in settlements]

    async def _compare_and_set(
        self, connection: AsyncConnection, settlements: Sequence[Settlement]
    ) -> set[tuple[str, str]]:
        """Write the rows that are still claimed by their holders; return the names of those settlements."""
        rows = [
            (*one.name, its.state.value, its.reuse, its.ambiguous, its.outcome)
            for one, its in ((one, one.after) for one in settlements)
        ]
        if self._database.is_postgresql:
            names = ("ids", "holders", "states", "reuses", "ambiguous", "outcomes")
            columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
            return {(row.id, row.holder) for row in await connection.execute(_SETTLE_POSTGRESQL, columns)}
        won = set[tuple[str, str]]()
        while rows:  # SQLite returns ids only, so each comes once in a statement
            names_of = {as_stored(identity): (identity, holder) for identity, holder, *_ in reversed(rows)}
            its = [row for row in rows if names_of[as_stored(row[0])] == row[:2]]
            rows = [row for row in rows if names_of[as_stored(row[0])] != row[:2]]
            written = orjson.dumps(
                [[as_stored(i), *rest, None if o is None else o.decode()] for i, *rest, o in its]
            ).decode()
            won |= {names_of[i] for i in (await connection.execute(_SETTLE_SQLITE, {"rows": written})).scalars()}
        return won


def reason_of(kind: OutcomeKind, submitted: Submitted) -> Reason | None:
    """Return the reason of an outcome that the provider brought about."""
    if kind is OutcomeKind.UNKNOWN:
        return Reason.ALREADY_SEEN if submitted.answer is Answer.ALREADY_SEEN else Reason.IN_DOUBT
    return Reason.RECIPIENT_REFUSED if kind is OutcomeKind.REJECTED else None


def _after(one: Settlement) -> Entry:
    after = settle(one.claimed, one.claimed.holder or "", one.answer, burns=one.burns, final=one.final)
    if after is None:
        raise RuntimeError("only what is claimed is settled")
    return replace(after, outcome=one.outcome(_KIND_OF[after.state])) if after.is_settled else after


_SETTLE = """
    UPDATE ledger SET state = its.state, reuse = its.reuse, ambiguous = its.ambiguous, outcome = its.outcome,
                      holder = NULL, lease_until = NULL, updated_at = {now}
    FROM {rows}
    WHERE ledger.message_id = its.id AND ledger.state = 'claimed' AND ledger.holder = its.holder
    RETURNING {id}
"""
# Locked in the order of the ids, as the fence locks them too: two batches never wait for each other.
_SETTLE_POSTGRESQL = sa.text(
    _SETTLE.format(
        now=NOW_POSTGRESQL,
        id="CAST(its.id AS text) AS id, its.holder AS holder",
        rows="""
            (SELECT message_id FROM ledger WHERE message_id = ANY(CAST(:ids AS uuid[]))
             ORDER BY message_id FOR UPDATE) AS locked
            JOIN unnest(CAST(:ids AS uuid[]), CAST(:holders AS text[]), CAST(:states AS text[]), CAST(:reuses AS boolean[]),
                        CAST(:ambiguous AS boolean[]), CAST(:outcomes AS bytea[]))
                 AS its(id, holder, state, reuse, ambiguous, outcome) ON its.id = locked.message_id""",
    )
)
_SETTLE_SQLITE = sa.text(
    _SETTLE.format(
        now=NOW_SQLITE,
        rows="(SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS holder, "
        "json_extract(value, '$[2]') AS state, json_extract(value, '$[3]') AS reuse, "
        "json_extract(value, '$[4]') AS ambiguous, CAST(json_extract(value, '$[5]') AS BLOB) AS outcome "
        "FROM json_each(:rows)) AS its",
        id="message_id",
    )
)


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
    insert = inserting(is_postgresql)(ledger)
    names = [column.name for column in fields(Entry)]
    statement = insert.values({**{name: sa.bindparam(name) for name in names}, "updated_at": db_now()})
    changed = {name: statement.excluded[name] for name in names if name != "message_id"}
    return statement.on_conflict_do_update(index_elements=["message_id"], set_={**changed, "updated_at": db_now()})
