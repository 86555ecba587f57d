"""`backtest`: another routing table over what really happened."""

import asyncio
import shutil
import tempfile
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.table import Table

from worker.answers.backtesting import Backtest, Backtesting
from worker.auditing import audit_record
from worker.cli.choosing import read_time
from worker.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from worker.cli.printing import console, progress, say
from worker.errors import ConfigurationError
from worker.routing.loading import Configuration, load_configuration
from worker.tools import open_tools


def backtest(
    since: Annotated[str, typer.Option("--from", help="A time, or how long ago: 7d.")],
    until: Annotated[str | None, typer.Option("--to", help="A time, or how long ago: 2h; now unless said.")] = None,
    routes: Annotated[Path | None, typer.Option(help="The new routes.yaml.")] = None,
    templates: Annotated[Path | None, typer.Option(help="The new folder of templates.")] = None,
    policy: Annotated[Path | None, typer.Option(help="The new policy.yaml.")] = None,
    topic: Annotated[list[str] | None, typer.Option(help="Only this input topic. May be repeated.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """
    Run another routing table over a stretch of the real topics, in shadow: who gains, who loses a message, what it costs.

    Every event is decided twice, as things are and as they would be, with today's contacts, consents and suppressions.
    Rates, caps, budgets, and events that make a message pointless are left out. Nothing is sent, and nothing is written
    but an audit record. Prices come from providers.yaml.

    Example: `sms-worker backtest --from 7d --routes new-routes.yaml`
    """
    if routes is None and templates is None and policy is None:
        raise typer.BadParameter("give what would be new: --routes, --templates, --policy, or several of them")
    start, end = read_time(since, "from"), read_time(until, "to") or datetime.now(UTC)
    if start is None or start >= end:
        raise typer.BadParameter("begins after it ends", param_hint="--from")
    other = _other(config, {"routes.yaml": routes, "templates": templates, "policy.yaml": policy})
    found = asyncio.run(_run(config, other, start, end, topic or []))
    if as_json:
        say(orjson.dumps(_rows(found), option=orjson.OPT_INDENT_2))
        return
    _show(found)


def _other(config: Path, new: dict[str, Path | None]) -> Configuration:
    """Return the configuration with what is new in its place; whole and valid, or every mistake by its own file."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(shutil.copytree(config, Path(made) / "config"))
        for name, path in new.items():
            if path is None:
                continue
            if not path.exists():
                raise typer.BadParameter(f"{path} is not there")
            if path.is_dir():
                shutil.rmtree(folder / name)
                shutil.copytree(path, folder / name)
            else:
                shutil.copyfile(path, folder / name)
        try:
            return load_configuration(folder)
        except ConfigurationError as error:
            raise ConfigurationError(
                [replace(one, file=_named(one.file, folder, config, new)) for one in error.problems]
            ) from error


def _named(file: str, folder: Path, config: Path, new: dict[str, Path | None]) -> str:
    for name, path in new.items():
        if path is not None and file.startswith(str(folder / name)):
            return file.replace(str(folder / name), str(path), 1)
    return file.replace(str(folder), str(config), 1)


async def _run(config: Path, other: Configuration, start: datetime, end: datetime, topics: list[str]) -> Backtest:
    async with open_tools(config) as tools:
        told = {"since": start, "until": end, "configuration": tools.configuration.hash, "other": other.hash}
        await tools.sink.publish(audit_record(tools.topics, "backtest", **told))
        with progress() as shown:
            bar = shown.add_task("records", total=None)
            return await Backtesting(tools, other).run(
                start, end, lambda total, done: shown.update(bar, total=total, completed=done), topics
            )


def _rows(found: Backtest) -> dict[str, Any]:
    return {
        "events": found.events,
        "people_who_gain": len(found.gainers),
        "people_who_lose": len(found.losers),
        "gained": dict(found.gained),
        "lost": [{"route": route, "reason": reason, "count": n} for (route, reason), n in found.lost.most_common()],
        "routes": {route: asdict(tally) for route, tally in sorted(found.routes.items())},
        "not_sent": [
            {"route": route, "reason": reason, "before": before, "after": after}
            for (route, reason), (before, after) in sorted(found.reasons.items())
        ],
    }


def _show(found: Backtest) -> None:
    out, table = console(), Table(box=None, pad_edge=False)
    for name in ("ROUTE", "SENT", "WOULD BE", "SEGMENTS", "WOULD BE", "COST", "WOULD BE"):
        table.add_column(name, justify="left" if name == "ROUTE" else "right")
    for route, its in sorted(found.routes.items()):
        table.add_row(
            route, f"{its.before:,}", f"{its.after:,}", f"{its.segments_before:,}", f"{its.segments_after:,}",
            f"{its.cost_before:,.2f}", f"{its.cost_after:,.2f}",
        )  # fmt: skip
    out.print(table)
    for route, count in found.gained.most_common():
        out.print(f"+{count:,}  {route}", markup=False)
    for (route, reason), count in found.lost.most_common():
        out.print(f"-{count:,}  {route}: {reason}", markup=False)
    for (route, reason), (before, after) in sorted(found.reasons.items()):
        if before != after:
            out.print(f"not sent, {route}: {reason}: {before:,}, would be {after:,}", markup=False)
    gain, lose = len(found.gainers), len(found.losers)
    say(f"{found.events} events; {gain} people gain a message, {lose} lose one; nothing was sent", err=True)
