"""`calendar`: what must recur, when it was done last, and noting what people do."""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.table import Table
from rich.text import Text

from worker.auditing import auditing_the_end
from worker.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from worker.cli.printing import console, say
from worker.state.jobs import TERMS, Job, Jobs
from worker.tools import open_tools

DAY_S = 86_400.0
app = typer.Typer(help="What must recur: jobs and chores, and when each was done last.", no_args_is_help=True)


class Chore(StrEnum):
    """What people do, and say that they did."""

    RELEASE = "release"
    REGISTRATION = "registration"
    RESTORE = "restore"


@app.command()
def ls(as_json: JsonOption = False, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """
    List what must recur, when it was done last, and when it is due. What nobody ever did counts from the first start.

    Jobs note themselves; chores are noted by `sms-worker calendar done`. Keys have `sms-worker keys status`.
    """
    last, now = asyncio.run(_last(config)), time.time()
    if as_json:
        rows = [{"job": job, "done_at": last.get(job), **TERMS[job]._asdict()} for job in Job]
        say(orjson.dumps(rows, option=orjson.OPT_INDENT_2))
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("what", "done last", "due", "how"):
        table.add_column(name)
    for job, term in TERMS.items():
        at = last.get(job)
        late = at is not None and now - at > term.every_d * DAY_S
        table.add_row(
            job.value,
            "never" if at is None else _day(at),
            Text("" if at is None else _day(at + term.every_d * DAY_S), style="bold red" if late else ""),
            term.how,
        )
    console().print(table)


@app.command()
def done(
    chore: Annotated[Chore, typer.Argument(help="Which.")],
    note: Annotated[str, typer.Option(help="What was found; nobody's number.")] = "",
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """
    Note that a chore has been done, now. Audited.

    Example: `sms-worker calendar done registration --note "BOUTIQUE confirmed until 2027-12"`
    """
    asyncio.run(_done(config, Job(chore.value), note))
    say(f"{chore.value}: done; due again in {TERMS[Job(chore.value)].every_d:.0f} days", err=True)


async def _last(config: Path) -> Mapping[str, float]:
    async with open_tools(config, in_need=True) as tools:
        return await Jobs(tools.database).last()


async def _done(config: Path, job: Job, note: str) -> None:
    async with open_tools(config, in_need=True) as tools:
        told = {"chore": job.value, "note": note}
        async with auditing_the_end(tools.topics, tools.sink, "calendar.done", lambda: told):
            await Jobs(tools.database).done(job)


def _day(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
