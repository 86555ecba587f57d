"""The database's own clock, which decides leases, tokens and windows."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

NOW_POSTGRESQL = "extract(epoch from clock_timestamp())::double precision"
NOW_SQLITE = "((julianday('now') - 2440587.5) * 86400.0)"


class db_now(GenericFunction[float]):  # noqa: N801  reads as a function in SQL
    """The database's clock, in seconds since 1970; it moves on within a transaction."""

    type = sa.Double()
    inherit_cache = True


@compiles(db_now, "postgresql")
def _now_postgresql(element: Any, compiler: Any, **kw: Any) -> str:
    del element, compiler, kw
    return NOW_POSTGRESQL


@compiles(db_now, "sqlite")
def _now_sqlite(element: Any, compiler: Any, **kw: Any) -> str:
    del element, compiler, kw
    return NOW_SQLITE
