"""Which version the schema is of, and how it becomes this one's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from worker.errors import ConfigurationError, Problem
from worker.state.database import Database, translated_errors
from worker.state.tables import SERVES, facts

MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(url: str, connect_args: Mapping[str, Any] | None = None) -> None:
    """
    Bring the schema of *url* to this version; runs its own event loop, so call it before the worker's, or in a thread.

    Raises:
        StateUnavailable: The database does not answer.
    """
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    with translated_errors():
        command.upgrade(_alembic(url, connect_args), "head")


async def check_schema(database: Database, url: str) -> None:
    """
    Compare the schema with this version. A newer one is right as long as it says that it serves this version, too.

    Raises:
        ConfigurationError: It is older, or so new that it serves this version no more.
    """
    async with database.reading() as connection:
        found = await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
        serves = await connection.scalar(sa.select(facts.c.value).where(facts.c.name == SERVES)) if found else None
    wanted = str(ScriptDirectory.from_config(_alembic(url)).get_current_head())
    if found == wanted or (found is not None and found > wanted and serves is not None and serves <= wanted):
        return
    needs = "upgrade the worker" if found is not None and found > wanted else "run `sms-worker db upgrade`"
    message = f"the schema is at {found or 'nothing'}, this worker needs {wanted}; {needs}"
    raise ConfigurationError([Problem("database", None, "schema", message)])


def _alembic(url: str, connect_args: Mapping[str, Any] | None = None) -> AlembicConfig:
    config = AlembicConfig()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes |= {"url": url, "connect_args": dict(connect_args or {})}
    return config
