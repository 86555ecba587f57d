"""`config status`: which process runs which configuration."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import orjson
import typer

from worker.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from worker.cli.printing import console, say
from worker.errors import Problem
from worker.state.presence import Presence, Process
from worker.tools import open_tools

app = typer.Typer(help="The configuration, as processes run it.", no_args_is_help=True)


@app.command()
def status(as_json: JsonOption = False, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """
    Say which configuration each process runs, beside the one in this folder.

    Routes, templates and policy are adopted within seconds of a change; a set with a mistake is refused, and the old one
    stays (`/readyz` says why). What a restart is needed for is told as refused, too. Exits 1 if a process runs another
    configuration than this folder's, or none runs.
    """
    here, found, problems = asyncio.run(_read(config))
    for problem in problems:
        say(str(problem), err=True)
    same = bool(found) and all(one.configuration == here for one in found)
    if as_json:
        rows = [{name: getattr(one, name) for name in one.__slots__} for one in found]
        say(orjson.dumps({"configuration": here, "processes": rows}, option=orjson.OPT_INDENT_2))
        raise typer.Exit(0 if same else 1)
    console().print(f"{here}  this folder, {config}", markup=False)
    for one in found:
        since = f"{datetime.fromtimestamp(one.started_at, UTC):%Y-%m-%d %H:%M} UTC"
        state = "refuses what it was offered" if one.refused else "" if one.configuration == here else "differs"
        told = f"{one.configuration}  {one.host}  {one.duties}  {one.version}  since {since}  {state}"
        console().print(told.rstrip(), markup=False, style=None if one.configuration == here else "bold")
    say(f"{len(found)} processes", err=True)
    raise typer.Exit(0 if same else 1)


async def _read(config: Path) -> tuple[str, list[Process], list[Problem]]:
    async with open_tools(config, in_need=True) as tools:
        mistakes = [problem for problem in tools.configuration.warnings if not problem.warning]
        return tools.configuration.hash, await Presence(tools.database).alive(), mistakes
