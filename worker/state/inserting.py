"""INSERT ... ON CONFLICT: both engines have it alike, and SQLAlchemy keeps it with each."""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite


def inserting(is_postgresql: bool) -> Callable[[sa.Table], Any]:
    """Return what begins an INSERT that may say `on_conflict_do_update` or `on_conflict_do_nothing`."""
    return postgresql.insert if is_postgresql else sqlite.insert
