"""`numbers`: hygiene over the contact base by look-ups, and lifting a wrong verdict."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from schemas.messages import Category
from worker.auditing import audit_record, auditing_the_end
from worker.cli.options import DEFAULT_CONFIG, ConfigOption
from worker.cli.people import PhoneOption, masked, read_phone
from worker.cli.printing import progress, say
from worker.config_files import parse_duration
from worker.delivery.verdicts import Line, LineChecker
from worker.errors import ConfigurationError, LookUpFailed, Problem
from worker.messages import person_of
from worker.policy.number import Number, parse_number
from worker.providers.octopush import open_lines
from worker.state.hygiene import Hygiene, Stale
from worker.state.jobs import Job, Jobs
from worker.tools import Tools, open_tools

app = typer.Typer(help="Which numbers are dead.", no_args_is_help=True)
AT_ONCE = 100  # numbers in a request


@app.command()
def clean(
    yes: Annotated[
        bool, typer.Option("--yes", help="Spend the money; without it, say only how much it would be.")
    ] = False,
    older_than: Annotated[
        str,
        typer.Option(help="Look up what was not looked up for so long; facts about numbers keep for 30 to 90 days."),
    ] = "60d",
    most: Annotated[int | None, typer.Option(help="Look up no more than so many.", min=1)] = None,
    account: Annotated[str | None, typer.Option(help="Which account pays; the transactional one unless said.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """
    Look up the numbers of all contacts in their home registers (HLR), and text the dead ones no more. Audited.

    What it costs is said first. Off and out of reach is not dead. It can be stopped at any time, and goes on where it was:
    what was looked up is not looked up again for 60 days.

    Example: `sms-worker numbers clean`, then `sms-worker numbers clean --most 10000 --yes`
    """
    span = parse_duration(older_than)
    if not isinstance(span, timedelta):
        raise typer.BadParameter(f"found {older_than!r}; write 60d", param_hint="--older-than")
    found = asyncio.run(_clean(config, account, span, most, yes=yes))
    if found is not None:
        told = ", ".join(f"{found[line]} {line}" for line in Line)
        say(f"{found.total()} looked up: {told}", err=True)


async def _clean(
    config: Path, account: str | None, older_than: timedelta, most: int | None, *, yes: bool
) -> Counter[Line] | None:
    async with open_tools(config) as tools, AsyncExitStack() as stack:
        accounts = tools.configuration.accounts
        name = account or accounts.of(Category.TRANSACTIONAL)[0]
        its = accounts.accounts.get(name)
        if its is None:
            told = f"found {name!r}; there are {', '.join(accounts.accounts)}"
            raise ConfigurationError([Problem("--account", None, "", told)])
        if its.simulation_mode:
            told = f"account {name} simulates: its answers are made up, and would be kept as facts"
            raise ConfigurationError([Problem("--account", None, "", told)])
        hygiene = Hygiene(tools.database, tools.people)
        count = await hygiene.count_stale(older_than)
        count = min(count, most or count)
        cost = "hlr_price of the account is not set" if its.hlr_price is None else f"{count * its.hlr_price:,.2f}"
        say(f"{count} numbers to look up at {name}; cost: {cost}{'' if yes else '; --yes does it'}", err=True)
        if not yes:
            return None
        if not count:
            await Jobs(tools.database).done(Job.HYGIENE)
            return Counter()
        lines = await stack.enter_async_context(open_lines(its, its.credentials.read(name)))
        found = await _look_up(tools, hygiene, lines, older_than, count)
        if most is None:  # otherwise some are left
            await Jobs(tools.database).done(Job.HYGIENE)
        return found


async def _look_up(
    tools: Tools, hygiene: Hygiene, lines: LineChecker, older_than: timedelta, count: int
) -> Counter[Line]:
    found = Counter[Line]()
    with progress() as bar:
        task = bar.add_task("numbers", total=count)

        def told() -> dict[str, int]:
            return {"numbers": found.total(), **{line.value: count for line, count in found.items()}}

        async with auditing_the_end(tools.topics, tools.sink, "numbers.clean", told):
            async for piece in hygiene.stale(older_than):
                for start in range(0, len(piece), AT_ONCE):
                    chosen = piece[start : start + min(AT_ONCE, count - found.total())]
                    if not chosen:
                        return found
                    said = await _lines_of(chosen, lines)
                    await hygiene.looked_up(said)
                    found.update(said.values())
                    bar.advance(task, len(chosen))
    return found


async def _lines_of(chosen: list[Stale], lines: LineChecker) -> dict[str, Line]:
    """Return what is known of each, by person; what the answer leaves out is undecided."""
    phones = {one.person: _e164(one.phone) for one in chosen}
    said = {_e164(phone): line for phone, line in (await lines.look_up(sorted(set(phones.values())))).items()}
    if not said:
        raise LookUpFailed("the provider's answer names none of the numbers")
    return {person: said.get(phone, Line.UNDECIDED) for person, phone in phones.items()}


def _e164(phone: str) -> str:
    number = parse_number(phone)
    return number.e164 if isinstance(number, Number) else phone


@app.command()
def revive(phone: PhoneOption, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """
    Lift a wrong verdict on a number: it was called dead, or refused twice, and is in use. Audited.

    A STOP, a complaint, or what an operator decided stays. Exits 1 if there was no such verdict.

    Example: `echo "06 12 34 56 78" | sms-worker numbers revive --phone -`
    """
    number = read_phone(phone)

    async def run() -> bool:
        async with open_tools(config) as tools:
            person = person_of(number.e164, tools.pepper)
            await tools.sink.publish(audit_record(tools.topics, "numbers.revive", person=person))
            return await Hygiene(tools.database, tools.people).revive(person)

    had = asyncio.run(run())
    say(f"{masked(number)}: {'is texted again' if had else 'was not called dead'}", err=True)
    raise typer.Exit(0 if had else 1)
