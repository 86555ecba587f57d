"""Which processes run, with which configuration and keys; and since when keys of providers are in use."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from worker.state.database import Database
from worker.state.inserting import inserting
from worker.state.now import db_now
from worker.state.tables import facts, person_keys, processes

LIVE_S = 60.0
API_KEY, RING_KEY = "api-key:", "ring-key:"
PIECE = 500


@dataclass(frozen=True, slots=True)
class Process:
    """A process as it says of itself."""

    incarnation: str
    host: str
    duties: str
    version: str
    configuration: str
    refused: bool
    ring_keys: Sequence[str]
    current_key: str
    started_at: float = 0.0
    seen_at: float = 0.0


@dataclass(frozen=True, slots=True)
class KeyUse:
    """
    A key, and since when it has been in use.

    Attributes:
        kind: `ring` or `api`.
        since: Seconds since 1970, by the database's clock.
        count: People whose data keys it wraps; None for an API key.
    """

    kind: str
    name: str
    since: float
    count: int | None = None


class Presence:
    """Every method may raise StateUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def beat(self, process: Process) -> None:
        """Say that *process* runs."""
        insert = inserting(self._database.is_postgresql)
        its = {name: getattr(process, name) for name in ("incarnation", "host", "duties", "version", "refused")}
        its |= {
            "current_key": process.current_key,
            "configuration": process.configuration,
            "ring_keys": orjson.dumps(list(process.ring_keys)).decode(),
        }
        statement = insert(processes).values(**its, started_at=db_now(), seen_at=db_now())
        fresh = {
            name: statement.excluded[name]
            for name in ("configuration", "refused", "ring_keys", "current_key", "seen_at")
        }
        async with self._database.transaction() as connection:
            await connection.execute(statement.on_conflict_do_update(index_elements=["incarnation"], set_=fresh))

    async def leave(self, incarnation: str) -> None:
        """Say that a process runs no more."""
        async with self._database.transaction() as connection:
            await connection.execute(processes.delete().where(processes.c.incarnation == incarnation))

    async def alive(self) -> list[Process]:
        """Return the processes that were seen within a minute."""
        recent = sa.select(processes).where(processes.c.seen_at > db_now() - LIVE_S)
        async with self._database.reading() as connection:
            rows = await connection.execute(recent.order_by(processes.c.started_at))
            return [Process(**{**row._asdict(), "ring_keys": orjson.loads(row.ring_keys)}) for row in rows]

    async def note_api_key(self, account: str, fingerprint: str) -> None:
        """Remember since when an account's key is in use; another key begins anew."""
        name, value = API_KEY + account, {"fingerprint": fingerprint}
        async with self._database.transaction() as connection:
            known = await connection.scalar(sa.select(facts.c.value).where(facts.c.name == name))
            if known is not None and orjson.loads(known)["fingerprint"] == fingerprint:
                return
            now = await connection.scalar(sa.select(db_now()))
            insert = inserting(self._database.is_postgresql)
            statement = insert(facts).values(name=name, value=orjson.dumps({**value, "since": now}).decode())
            fresh = {"value": statement.excluded.value}
            await connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=fresh))

    async def keys(self) -> list[KeyUse]:
        """Return every key that is in use."""
        rings = sa.select(
            person_keys.c.ring_key,
            sa.func.min(person_keys.c.created_at).label("since"),
            sa.func.count().label("people"),
        ).group_by(person_keys.c.ring_key)
        noted = sa.select(facts).where(facts.c.name.startswith(API_KEY))
        first = sa.select(facts).where(facts.c.name.startswith(RING_KEY))
        async with self._database.reading() as connection:
            since = {row.name.removeprefix(RING_KEY): float(row.value) for row in await connection.execute(first)}
            used = [
                KeyUse("ring", row.ring_key, since.get(row.ring_key, row.since), row.people)
                for row in await connection.execute(rings)
            ]
            api = [
                KeyUse("api", row.name.removeprefix(API_KEY), orjson.loads(row.value)["since"])
                for row in await connection.execute(noted)
            ]
        return [*used, *api]

    async def note_ring_key(self, name: str) -> None:
        """Remember since when a key of the ring wraps data keys."""
        insert = inserting(self._database.is_postgresql)
        async with self._database.transaction() as connection:
            now = await connection.scalar(sa.select(db_now()))
            its = insert(facts).values(name=RING_KEY + name, value=str(now))
            await connection.execute(its.on_conflict_do_nothing())

    async def stale_keys(self, current: str, after: str) -> Sequence[Any]:
        """Return some rows of data keys that another key than *current* wraps, after a subject."""
        its = sa.select(person_keys).where(person_keys.c.ring_key != current, person_keys.c.subject > after)
        async with self._database.reading() as connection:
            return (await connection.execute(its.order_by(person_keys.c.subject).limit(PIECE))).all()

    async def rewrapped(self, rows: Collection[dict[str, Any]]) -> int:
        """Write data keys wrapped anew, unless somebody was forgotten or got another meanwhile; return how many were."""
        names = ("subject", "key_id", "before")
        which = sa.and_(*(person_keys.c[n if n != "before" else "wrapped"] == sa.bindparam(f"b_{n}") for n in names))
        changed = person_keys.update().where(which)
        changed = changed.values(wrapped=sa.bindparam("b_wrapped"), ring_key=sa.bindparam("b_ring_key"))
        async with self._database.transaction() as connection:
            # One by one: of many at once a driver does not say how many it changed.
            changes = [await connection.execute(changed, {f"b_{n}": v for n, v in row.items()}) for row in rows]
        return sum(change.rowcount for change in changes)
