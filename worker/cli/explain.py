"""`explain`: what an event would become, and why."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from worker.answers.explaining import Explanation, explain_event, read_contact_file, read_event_file
from worker.answers.retracing import Retracing
from worker.auditing import audit_record
from worker.cli.choosing import read_time
from worker.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from worker.cli.printing import PlainConsole, say
from worker.records import Place
from worker.routing.loading import load_configuration
from worker.tools import open_tools

OUTCOMES_DAYS, FILE_WIDTH = 30, 160


def explain(
    event: Annotated[
        Path | None, typer.Argument(help="A CloudEvent in JSON; - reads standard input.", allow_dash=True)
    ] = None,
    topic: Annotated[str | None, typer.Option(help="Of a record on Kafka, with --partition and --offset.")] = None,
    partition: Annotated[int | None, typer.Option(min=0, help="Of that topic.")] = None,
    offset: Annotated[int | None, typer.Option(min=0, help="In that partition.")] = None,
    message_id: Annotated[str | None, typer.Option(help="Of a message, as outcomes and logs name it.")] = None,
    at: Annotated[
        str | None,
        typer.Option(help="Decide as of that time: ISO 8601, or 2h ago. What is known only as of today is marked."),
    ] = None,
    contact: Annotated[
        Path | None,
        typer.Option(
            help="With a file: a contact.updated payload to take for the recipient; without it, it is unknown."
        ),
    ] = None,
    consents: Annotated[
        list[str] | None, typer.Option("--consent", help="With a file: a purpose they agreed to. May be repeated.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """
    Say what an event becomes and why: every check with what it looked at, what it said, and where that stands.

    The worker's own code, and no side effect. Of a file no state is read: who the contact is and what they agreed to is
    what you say it is. Of a record (--topic, --partition, --offset) or a message (--message-id), contacts, consents, caps
    and what did come of it are the real ones; such a look is audited. Exits 0 whatever the event becomes.

    Example: `sms-worker explain --topic orders.events --partition 0 --offset 4711 --at 2026-11-20T09:00+01:00`
    """
    placed = [topic, partition, offset]
    ways = [event is not None, any(one is not None for one in placed), message_id is not None]
    if sum(ways) != 1 or (ways[1] and None in placed):
        raise typer.BadParameter("give a file; or --topic, --partition and --offset; or --message-id")
    if event is not None:
        if at is not None:
            raise typer.BadParameter("is for records and messages; a file's event is looked at now", param_hint="--at")
        configuration = load_configuration(config)
        person = read_contact_file(contact) if contact else None
        told = explain_event(configuration, read_event_file(event), contact=person, consents=frozenset(consents or ()))
    else:
        place = Place(topic, partition, offset) if topic and partition is not None and offset is not None else None
        told = asyncio.run(_retrace(config, place, message_id, read_time(at, "at")))
    if as_json:
        say(orjson.dumps(told.as_json(), option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z))
        return
    _show(told)


async def _retrace(config: Path, place: Place | None, message_id: str | None, at: datetime | None) -> Explanation:
    async with open_tools(config) as tools:
        its = place._asdict() if place else {"message_id": message_id}
        await tools.sink.publish(audit_record(tools.topics, "explain", as_of=at, **its))
        retracing = Retracing(tools, at)
        if place is not None:
            return await retracing.record_at(place)
        return await retracing.message(message_id or "", datetime.now(UTC) - timedelta(days=OUTCOMES_DAYS))


def _show(told: Explanation) -> None:
    console = PlainConsole(highlight=False)
    if not console.is_terminal:
        console.width = FILE_WIDTH
    console.print(
        f"[bold]{told.event_type or 'This'}[/] became [bold]{told.became}[/]" + (f": {told.why}" if told.why else "")
    )
    for message in told.messages:
        table = Table(show_header=False, box=None)
        for _ in range(4):
            table.add_column(overflow="fold")
        for step in message.steps:
            today = " (as of today)" if step.today else ""
            table.add_row(step.check, escape(step.found), escape(step.answer + today), f"[dim]{escape(step.source)}[/]")
        if message.came_of_it:
            said = " ".join(str(message.came_of_it.get(name) or "") for name in ("outcome", "reason", "check")).strip()
            table.add_row("became", escape(message.came_of_it["time"]), escape(said), "the ledger")
        end = f"{message.outcome}{f': {message.reason}' if message.reason else ''}"
        cost = "" if message.cost is None else f", costs {message.cost:.3f}"
        table.add_row("[bold]so[/]", "", f"[bold]{escape(end)}[/]{cost}")
        console.print(
            Panel(
                table,
                title=f"route {message.route}, template {message.template}, lane {message.lane}",
                title_align="left",
            )
        )
        if message.text is not None:
            console.print(Panel(message.text, width=48, title=message.sender))
    for place in told.not_matched:
        console.print(f"[dim]not matched: {place}[/]")
