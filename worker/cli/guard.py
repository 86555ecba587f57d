"""`guard`: what the abuse guard blocks, and letting it pass."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import orjson
import typer

from worker.auditing import audit_record
from worker.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from worker.cli.people import read_phone
from worker.cli.printing import console, say
from worker.config_files import parse_duration
from worker.messages import person_of
from worker.state.guarding import Block, Guarding
from worker.tools import open_tools

SCOPE = re.compile(r"(block|number):[\w-]{22}|country:[A-Z]{2}|spend")
app = typer.Typer(help="The abuse guard for login codes: what it blocks, and letting it pass.", no_args_is_help=True)


@app.command()
def ls(as_json: JsonOption = False, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """
    List what is blocked and what is allowed now: countries, blocks of numbers, numbers, the spend cap.

    A block is named by a keyed hash; the warning `guard.found` in the log has the same name.
    """
    found = asyncio.run(_blocks(config))
    if as_json:
        rows = [{name: getattr(one, name) for name in one.__slots__} for one in found]
        say(orjson.dumps(rows, option=orjson.OPT_INDENT_2))
        return
    for one in found:
        until = max(one.blocked_until, one.allowed_until)
        state = "allowed" if one.allowed_until >= one.blocked_until else f"blocked, {one.reason},"
        console().print(
            f"{one.scope}  {state} until {datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M} UTC", markup=False
        )
    say(f"{len(found)} blocks and leaves", err=True)


async def _blocks(config: Path) -> list[Block]:
    async with open_tools(config) as tools:
        return await Guarding(tools.database).blocks()


@app.command()
def allow(
    scope: Annotated[str | None, typer.Argument(help="As `guard ls` names it: block:HASH, or spend.")] = None,
    country: Annotated[str | None, typer.Option(help="ISO 3166, as FR.")] = None,
    phone: Annotated[
        str | None, typer.Option("--phone", help="`-` reads the number from standard input: it, and its neighbours.")
    ] = None,
    lasting: Annotated[str, typer.Option("--for", help="How long: 30m, 24h, 7d.")] = "24h",
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """
    Let codes pass for a while, whatever the guard says. Audited.

    For a wrong block: a class that signs up at once, a country where a campaign has begun, a customer who cannot log in.

    Example: `echo "06 12 34 56 78" | sms-worker guard allow --phone -`
    """
    if sum(one is not None for one in (scope, country, phone)) != 1:
        raise typer.BadParameter("give a scope, --country, or --phone -")
    if scope is not None and not SCOPE.fullmatch(scope):
        raise typer.BadParameter(
            "is none; `guard ls` names them: block:HASH, number:HASH, country:FR, spend. A number: --phone -"
        )
    if country is not None and not re.fullmatch("[A-Za-z]{2}", country):
        raise typer.BadParameter(f"found {country!r}; write FR", param_hint="--country")
    span = parse_duration(lasting)
    if not isinstance(span, timedelta):
        raise typer.BadParameter(f"found {lasting!r}; write 30m, 24h or 7d", param_hint="--for")
    seconds = span.total_seconds()
    number = read_phone(phone) if phone is not None else None

    async def run() -> dict[str, bool]:
        async with open_tools(config) as tools:
            scopes = [scope or f"country:{(country or '').upper()}"]
            if number is not None:
                digits = tools.configuration.policy.guard.neighbour_digits
                block = tools.pepper.name("block", number.e164[:-digits])
                scopes = [f"number:{person_of(number.e164, tools.pepper)}", f"block:{block}"]
            await tools.sink.publish(audit_record(tools.topics, "guard.allow", scopes=scopes, seconds=seconds))
            guarding = Guarding(tools.database)
            return {one: await guarding.allow(one, seconds) for one in scopes}

    for name, was_blocked in asyncio.run(run()).items():
        say(f"{name}: allowed for {lasting}{', and was blocked' if was_blocked else ''}", err=True)
