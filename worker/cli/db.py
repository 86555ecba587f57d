"""`db upgrade|check|prune`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from worker.auditing import auditing_the_end
from worker.cli.options import DEFAULT_CONFIG, ConfigOption
from worker.cli.printing import progress, say
from worker.environment import load_settings
from worker.state.database import open_database
from worker.state.jobs import Job, Jobs
from worker.state.pruning import Pruning
from worker.state.schema import check_schema, migrate
from worker.tools import open_tools

app = typer.Typer(help="The state store: its schema, and its size.", no_args_is_help=True)


@app.command("upgrade")
def upgrade(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """
    Bring the state store's schema to this version. Workers refuse to start on another one.

    Those that run go on: a version's schema serves the version before it, too. Run it before the new workers start.
    """
    database = load_settings(config / "worker.yaml").database
    migrate(database.url.get_secret_value(), database.connect_args())
    say("the schema is up to date", err=True)


@app.command("check")
def check(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Compare the state store's schema with this version; exits 3 if it is older or newer."""
    asyncio.run(_check(config))
    say("the schema is this version's", err=True)


@app.command("prune")
def prune(
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without it, say only how many there are.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """
    Delete ledger rows of messages that ended long ago. Audited; for a nightly job.

    They go `retention.ledger_days` (90) after their message ended, when nothing can ask for them any more; what proves a
    marketing text stays for `retention.proof_days`. Reads the table as it lies on disk, so that it needs no index. It can be
    stopped, and run again, at any time.

    Example: `sms-worker db prune`, then the same with `--yes`
    """
    count = asyncio.run(_prune(config, yes=yes))
    say(f"{count} rows {'deleted' if yes else 'are over; --yes deletes them'}", err=True)


async def _check(config: Path) -> None:
    settings = load_settings(config / "worker.yaml")
    async with open_database(settings.database, tool=True) as database:
        await check_schema(database, settings.database.url.get_secret_value())


async def _prune(config: Path, *, yes: bool) -> int:
    count = 0
    async with open_tools(config) as tools:
        pruning = Pruning(tools.database, tools.configuration.policy.retention)
        with progress() as bar:
            task = bar.add_task("stretches of the ledger", total=await pruning.pieces())
            if not yes:
                async for over in pruning.run(delete=False):
                    count += over
                    bar.advance(task)
                return count

            def told() -> dict[str, int | str]:
                return {"rows": count}

            async with auditing_the_end(tools.topics, tools.sink, "db.prune", told):
                async for gone in pruning.run(delete=True):
                    count += gone
                    bar.advance(task)
                count += await pruning.forget()
                await Jobs(tools.database).done(Job.PRUNE)
    return count
