"""`find`: what was sent to somebody or not, and why, in plain words."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated

import orjson
import typer
from rich.markup import escape

from worker.answers.finding import Asked, FoundMessage
from worker.answers.finding import find as look_for
from worker.cli.choosing import read_time
from worker.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from worker.cli.people import masked, read_phone
from worker.cli.printing import console, say
from worker.tools import open_tools

MONTH = timedelta(days=30)


def find(
    phone: Annotated[
        str | None,
        typer.Option("--phone", help="`-` reads the number from standard input, so that no history keeps it."),
    ] = None,
    contact: Annotated[str | None, typer.Option(help="The contact id that events name.")] = None,
    event_id: Annotated[str | None, typer.Option(help="The domain event's id.")] = None,
    order: Annotated[str | None, typer.Option(help="The number of an order, an appointment or a cart.")] = None,
    message_id: Annotated[str | None, typer.Option(help="As outcomes, logs and dead letters name it.")] = None,
    since: Annotated[
        str | None, typer.Option(help="A time, or how long ago: 2h. Outcomes are kept for 30 days.")
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """
    Say what was sent to somebody or not, and why, in French and English. Every look-up is audited.

    For the support agent whose customer says "I did not get my code". Exits 1 if nothing is found.

    Example: `echo "06 12 34 56 78" | sms-worker find --phone - --since 2d`
    """
    if sum(one is not None for one in (phone, contact, event_id, order, message_id)) != 1:
        raise typer.BadParameter("give one of --phone -, --contact, --event-id, --order, --message-id")
    number = read_phone(phone) if phone is not None else None
    start = read_time(since, "since") or datetime.now(UTC) - MONTH
    if number is not None and not as_json:
        console().print(f"[bold]{masked(number)}[/]")

    phone = number.e164 if number is not None else None
    asked = Asked(phone=phone, contact=contact, event_id=event_id, order=order, message_id=message_id)

    async def look() -> list[FoundMessage]:
        async with open_tools(config) as tools:
            return await look_for(tools, asked, start)

    found = asyncio.run(look())
    if as_json:
        say(orjson.dumps([vars(one) for one in found], option=orjson.OPT_INDENT_2))
    else:
        _show(found)
    raise typer.Exit(0 if found else 1)


def _show(found: list[FoundMessage]) -> None:
    out = console()
    for one in found:
        about = escape(f"{one.event['type']}, event {one.event['id']}")
        out.print(f"\n[bold]{about}[/]" + (f"  route {one.route}, template {one.template}" if one.route else ""))
        for time, french, english in one.steps:
            out.print(f"  {time[:19].replace('T', ' ')}  {english}", markup=False)
            out.print(f"                       {french}", markup=False, style="dim")
        if one.provider_ref:
            out.print(f"  the operator's reference is {one.provider_ref}; message {one.name}", markup=False)
    if not found:
        out.print("Nothing: no outcome of that person or event. Is it under way (`why-stuck`), or older than 30 days?")
