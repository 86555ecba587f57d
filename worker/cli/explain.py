"""`explain`: what an event would become, and why."""

from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from worker.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from worker.explaining import Explanation, explain_event, read_contact_file, read_event_file
from worker.routing.loading import load_configuration


def explain(
    event: Annotated[Path, typer.Argument(help="A CloudEvent in JSON; - reads standard input.", allow_dash=True)],
    config: ConfigOption = DEFAULT_CONFIG,
    contact: Annotated[
        Path | None,
        typer.Option(help="A contact.updated payload to take for the recipient; without it the contact is unknown."),
    ] = None,
    consents: Annotated[
        list[str] | None, typer.Option("--consent", help="A purpose the person agreed to. May be repeated.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """
    Say what an event would become and why, with the worker's own code and no side effect.

    Nothing is written or sent, and no state is read: who the contact is and what they agreed to is what you say it is.
    Exits 0 whatever the event would become.
    """
    configuration = load_configuration(config)
    person = read_contact_file(contact) if contact else None
    told = explain_event(configuration, read_event_file(event), contact=person, consents=frozenset(consents or ()))
    if as_json:
        typer.echo(orjson.dumps(told.as_json(), option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z))
        return
    _show(told)


def _show(told: Explanation) -> None:
    console = Console(highlight=False)
    console.print(
        f"[bold]{told.event_type or 'This'}[/] became [bold]{told.became}[/]" + (f": {told.why}" if told.why else "")
    )
    for message in told.messages:
        table = Table(show_header=False, box=None)
        for step, answer in message.steps:
            table.add_row(step, answer)
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
