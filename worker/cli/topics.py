"""`topics create|check`."""

import asyncio

import typer

from worker.cli.options import DEFAULT_CONFIG, ConfigOption
from worker.cli.printing import say
from worker.environment import load_settings
from worker.kafka.checking import check_topics
from worker.kafka.topics import create_topics, open_admin
from worker.settings import Settings

app = typer.Typer(help="Kafka topics: make them, verify them.", no_args_is_help=True)


@app.command("create")
def create(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Make every topic that is missing, with the partitions and retention it should have."""
    made = asyncio.run(_create(load_settings(config / "worker.yaml")))
    for name in made:
        say(name)
    say(f"{len(made)} made" if made else "all topics are there", err=True)


@app.command("check")
def check(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """
    Compare the topics there are with what the worker needs; exits 1 if something is wrong.

    Partitions, retention, cleanup policy and largest record; with `production: true` also copies, in-sync copies and unclean
    elections.
    """
    problems = asyncio.run(_check(load_settings(config / "worker.yaml")))
    for problem in problems:
        say(problem)
    if problems:
        raise typer.Exit(1)
    say("all topics are as they should be", err=True)


async def _create(settings: Settings) -> list[str]:
    async with open_admin(settings.kafka) as admin:
        return await create_topics(admin, settings)


async def _check(settings: Settings) -> list[str]:
    async with open_admin(settings.kafka) as admin:
        return await check_topics(admin, settings)
