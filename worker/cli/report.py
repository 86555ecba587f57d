"""`report`: what was sent, what was not and why, what it cost."""

import asyncio
import csv
import io
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from rich.table import Table

from worker.answers.report_page import NO_OPENS, costs, page, percent, why
from worker.answers.reporting import GROUPS, LATER, NOT_SENT, Line, Report, make_report
from worker.cli.choosing import read_time
from worker.cli.options import DEFAULT_CONFIG, ConfigOption
from worker.cli.people import plain_cells
from worker.cli.printing import console, progress, say
from worker.content.composing import DEFAULT_ZONE
from worker.environment import load_settings
from worker.topics import Topics

RATES = ("sent of all", *(f"{kind} of sent" for kind in LATER))
_TIME = "A time (2026-11-23T08:00Z), a day, or how long ago: 12h, 7d."


def report(
    since: Annotated[str, typer.Option("--from", help=_TIME)] = "7d",
    until: Annotated[str | None, typer.Option("--to", help=f"{_TIME} Now, unless said.")] = None,
    campaign: Annotated[str | None, typer.Option(help="Only of this one.")] = None,
    by: Annotated[
        list[str] | None, typer.Option(help=f"What is counted apart: {', '.join(GROUPS)}. May be repeated.")
    ] = None,
    zone: Annotated[str, typer.Option(help="Whose days are counted.")] = DEFAULT_ZONE,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write a CSV file; - is standard output.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with charts.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """
    Count what was sent, what was not and why, and what it cost, by campaign, route and category.

    From the results topic, which keeps 30 days. Whether an SMS was opened cannot be measured; delivered and clicked are
    told where the provider reports it and links are counted.

    Example: `sms-worker report --from 2026-11-01 --to 2026-12-01 --campaign autumn --html report.html`
    """
    groups = tuple(by or ("campaign", "route", "category"))
    if wrong := [name for name in groups if name not in GROUPS]:
        raise typer.BadParameter(f"found {wrong[0]!r}; there are {', '.join(GROUPS)}", param_hint="--by")
    try:
        days_of = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise typer.BadParameter(f"found {zone!r}; write an IANA name: Europe/Paris", param_hint="--zone") from error
    begins, ends = read_time(since, "from", days_of), read_time(until, "to", days_of) or datetime.now(UTC)
    found = asyncio.run(_run(config, begins or ends, ends, campaign, groups, days_of))
    if html is not None:
        html.write_text(page(found), "utf-8")
        say(f"{html} written", err=True)
    if csv_file is not None:
        _write_csv(found, csv_file)
    if html is None and csv_file is None:
        console().print(_table(found))
    say(_sum(found.total), err=True)


async def _run(
    config: Path, since: datetime, until: datetime, campaign: str | None, by: tuple[str, ...], zone: ZoneInfo
) -> Report:
    settings = load_settings(config / "worker.yaml")
    outcomes = Topics(settings.kafka.prefix).outcomes
    with progress() as bar:
        task = bar.add_task("outcomes", total=None)
        return await make_report(
            settings.kafka, outcomes, since, until, by=by, zone=zone, campaign=campaign,
            tell_total=lambda total: bar.update(task, total=total), look=lambda count: bar.advance(task, count),
        )  # fmt: skip


def _table(found: Report) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in found.by:
        table.add_column(name)
    for name in ("sent", "of all", "delivered", "clicked", "not sent", "why not", "segments", "cost"):
        table.add_column(name, justify="left" if name == "why not" else "right")
    for group, line in found.ordered():
        rates = map(percent, (line.sent_share, line.rate("delivered"), line.rate("clicked")))
        counts = (f"{line.sent:,}", *rates, f"{line.not_sent:,}", why(line), f"{line.segments:,}", costs(line))
        table.add_row(*group, *counts)
    return table


def _write_csv(found: Report, file: Path) -> None:
    """One row a group, with a column for each kind of end, each rate and each reason that occurs: what people pivot."""
    text = io.StringIO()
    writer = csv.writer(text)
    reasons = sorted(reason for reason, count in found.total.why.items() if count)
    heads = [*found.by, "sent", *LATER, *NOT_SENT, "segments", "cost", "currency", *RATES]
    writer.writerow([*heads, *(f"not sent: {reason}" for reason in reasons)])
    for group, line in found.ordered():
        currency = next(iter(line.cost), "")
        counts = (line.sent, *(line.ended[kind] for kind in (*LATER, *NOT_SENT)), line.segments)
        rates = [line.sent_share, *map(line.rate, LATER)]
        shares = ["" if rate is None else round(rate, 4) for rate in rates]
        why_not = [line.why[reason] for reason in reasons]
        writer.writerow([*plain_cells(group), *counts, round(line.cost[currency], 4), currency, *shares, *why_not])
    if str(file) == "-":
        sys.stdout.write(text.getvalue())
    else:
        file.write_text(text.getvalue(), "utf-8")
        say(f"{file} written", err=True)


def _sum(total: Line) -> str:
    return f"{total.sent:,} sent, {total.not_sent:,} not, {costs(total) or 'cost not told'}. {NO_OPENS}"
