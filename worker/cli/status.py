"""`status`: how everything stands, in a terminal, again and again."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from worker.answers.statusing import Source, Status, open_statusing
from worker.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from worker.cli.printing import console, say
from worker.errors import BrokerUnavailable, ConfigurationError, StateUnavailable, leaves
from worker.state.telling import DUE, LATER, OVERDUE
from worker.tools import open_tools

STYLES = {"accepted": "green", "suppressed": "yellow", "deferred": "cyan", "dead_lettered": "red", "unknown": "red"}
STRETCHES = {OVERDUE: DUE[:1], "1h": DUE[1:2], "6h": DUE[2:7], "24h": DUE[7:-1], LATER: DUE[-1:]}
LATE_S = {"urgent": 30.0, "sender-urgent": 30.0, "bulk": 14_400.0, "sender-marketing": 14_400.0}


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again every few seconds, until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.5, help="With --watch: how often, in seconds.")] = 3.0,
    as_json: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """
    Say how everything stands: intakes, lanes, accounts, what waits, what is paused, dead letters, the last outcomes.

    Intakes and lanes with their lag, rate and latency. Of the whole deployment, from Kafka and the state store; no process
    is asked. A rate is between two looks, so the first takes a second.

    Example: `sms-worker status --watch`
    """
    asyncio.run(_watch(config, every) if watch else _run(config, as_json=as_json))


async def _run(config: Path, *, as_json: bool) -> None:
    async with open_tools(config, in_need=True) as tools, open_statusing(tools) as statusing:
        await statusing.look()
        await asyncio.sleep(1.0)
        found = await statusing.look()
    if as_json:
        say(orjson.dumps({**asdict(found), "counts": _counts(found)}, option=orjson.OPT_INDENT_2, default=str))
    else:
        console().print(shown(found))


async def _watch(config: Path, every: float) -> None:
    """Show it again and again; while a server does not answer say so, above what was known last, and connect anew."""
    found: Status | None = None
    with Live(Text("…"), console=console(), screen=True, auto_refresh=False) as live:
        while True:
            try:
                async with open_tools(config, in_need=True) as tools, open_statusing(tools) as statusing:
                    while True:
                        found = await statusing.look()
                        live.update(shown(found), refresh=True)
                        await asyncio.sleep(every)
            except* (BrokerUnavailable, StateUnavailable, ConfigurationError) as group:
                if found is None:
                    raise
                told = f"{leaves(group)[0]}; what follows is old"
                live.update(Group(Text(told, style="bold red"), shown(found)), refresh=True)
                await asyncio.sleep(every)


def shown(found: Status) -> RenderableType:
    """Return *found* as a terminal shows it."""
    running = len(found.processes)
    head = Text(f"{found.at:%Y-%m-%d %H:%M:%S} UTC   {running} process{'es' if running != 1 else ''}", style="bold")
    if found.delivery != "live":
        head.append(f"   delivery: {found.delivery}", style="bold yellow")
    if not found.processes:
        head.append("   nothing runs", style="bold red")
    paused = [
        Text(f"paused: {scope}  {pause.reason}  ({pause.by} {pause.at})", style="bold yellow")
        for scope, pause in sorted(found.paused.items())
    ]
    tables = (_sources(found), _accounts(found), _waiting(found), _outcomes(found))
    return Group(head, *paused, *(Padding(table, (1, 0, 0, 0)) for table in tables))


def _sources(found: Status) -> Table:
    table = _table("source", ">behind", ">oldest", ">a second", ">empty in", ">latency p50 / p99")
    for one in found.sources:
        lane = one.name.removeprefix("sender-")
        took = found.latency_s.get(lane) if one.name.startswith("sender-") else None
        late = one.oldest_s > LATE_S.get(one.name, 300.0)
        table.add_row(
            one.name,
            f"{one.records:,}",
            Text(_span(one.oldest_s) if one.records else "", style="bold red" if late else ""),
            "" if one.per_second is None else f"{one.per_second:,.1f}",
            _empty_in(one),
            "" if took is None else f"{_span(took[0])} / {_span(took[1])}",
        )
    return table


def _empty_in(one: Source) -> str:
    if not one.records:
        return ""
    return "does not move" if one.drain_s is None else _span(one.drain_s)


def _accounts(found: Status) -> Table:
    table = _table("account", "state")
    for name, reason in sorted(found.told.held.items()):
        if reason:
            table.add_row(name, Text(f"held: {reason}", style="bold red"))
        elif lately := found.told.rested.get(name):
            table.add_row(name, Text(f"tried again after {lately}", style="bold yellow"))
        else:
            table.add_row(name, Text("not held", style="green"))
    letters = sum(found.letters.values())
    kept = ", ".join(f"{stage} {count:,}" for stage, count in found.letters.items() if count)
    table.add_row("dead letters", Text(kept or "none", style="bold red" if letters else "green"))
    unsure = found.counts.open.get("in_doubt", 0)
    table.add_row("in doubt", Text(f"{unsure:,}", style="yellow" if unsure else ""))
    age_s = found.told.projection_age_s
    known = "never" if age_s is None else f"known up to {_span(age_s)} ago"
    table.add_row("consents", Text(known, style="bold red" if age_s is None or age_s > 60 else ""))
    return table


def _waiting(found: Status) -> Table:
    table = _table("waits", *(f">{name}" for name in STRETCHES), "why")
    due, reasons = found.counts.by("lane", "due"), found.counts.by("lane", "reason")
    for lane in sorted({one.lane for one in found.counts.waiting}):
        why = [f"{reason} {count:,}" for (of, reason), count in sorted(reasons.items()) if of == lane]
        counts = [sum(due.get((lane, name), 0) for name in names) for names in STRETCHES.values()]
        table.add_row(lane, *(f"{count:,}" for count in counts), ", ".join(why))
    return table


def _outcomes(found: Status) -> Table:
    table = _table("last outcomes", "lane", "template or event", "outcome", "reason")
    for one in reversed(found.outcomes):
        outcome = Text(one.outcome, style=STYLES.get(one.outcome, ""))
        table.add_row(f"{one.at:%H:%M:%S}", one.lane, one.template, outcome, one.reason)
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0), title_justify="left")
    for column in columns:
        table.add_column(column.removeprefix(">"), justify="right" if column.startswith(">") else "left")
    return table


def _span(seconds: float) -> str:
    for unit, size in (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _counts(found: Status) -> dict[str, object]:
    """Return what waits and what is open, with names."""
    return {"waiting": [one._asdict() for one in found.counts.waiting], "open": found.counts.open}
