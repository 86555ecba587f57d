"""One parameter for many values: a statement that is the same however many are asked for is prepared once."""

from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class Many(sa.types.TypeDecorator[Any]):
    """A list of values of one type: an array on PostgreSQL, JSON on SQLite."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, item: sa.types.TypeEngine[Any]) -> None:
        super().__init__()
        self.item = item

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """Return the engine's own type."""
        is_postgresql = dialect.name == "postgresql"
        return dialect.type_descriptor(postgresql.ARRAY(self.item) if is_postgresql else sa.Text())

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> Any:
        """Return the list as the engine takes it."""
        if dialect.name == "postgresql":
            return list(value)
        return orjson.dumps([as_stored(one) if isinstance(self.item, sa.Uuid) else one for one in value]).decode()


def as_stored(identity: str) -> str:
    """Return a UUID as SQLite keeps it."""
    return identity.replace("-", "")


class among(FunctionElement[Any]):  # noqa: N801  reads as a function in SQL
    """Whether a column's value is one of a parameter's."""

    type = sa.types.NullType()  # not Boolean: for that, SQLite would be asked whether it is 1, and use no index
    inherit_cache = True

    def __init__(self, column: sa.ColumnElement[Any], parameter: str) -> None:
        super().__init__(column, sa.bindparam(parameter, type_=Many(column.type)))


@compiles(among, "postgresql")
def _among_postgresql(element: Any, compiler: Any, **kw: Any) -> str:
    column, values = element.clauses
    return f"{compiler.process(column, **kw)} = ANY({compiler.process(values, **kw)})"


@compiles(among, "sqlite")
def _among_sqlite(element: Any, compiler: Any, **kw: Any) -> str:
    column, values = element.clauses
    return f"{compiler.process(column, **kw)} IN (SELECT value FROM json_each({compiler.process(values, **kw)}))"  # noqa: S608  both are the compiler's
