"""`suppress`: numbers that must not be texted, by somebody's decision."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from worker.auditing import audit_record
from worker.cli.options import DEFAULT_CONFIG, ConfigOption
from worker.cli.people import PhoneOption, Row, masked, read_csv, read_phone, take_over, tell_of_import
from worker.cli.printing import console, say
from worker.messages import person_of
from worker.policy.consent import Scope, SuppressedFor
from worker.policy.number import Number, parse_number
from worker.sealing import Pepper
from worker.state.suppressing import Suppressing, SuppressionRow
from worker.tools import open_tools

app = typer.Typer(help="Numbers that must not be texted; no number is kept, only its keyed hash.", no_args_is_help=True)
ReasonOption = Annotated[SuppressedFor, typer.Option(help="Why.")]
ScopeOption = Annotated[Scope, typer.Option(help="everything covers transactional texts and codes, too.")]


@app.command()
def add(
    phone: PhoneOption,
    reason: ReasonOption = SuppressedFor.MANUAL,
    scope: ScopeOption = Scope.MARKETING,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """
    Text a number no more, whatever waits for it. Audited.

    A `stop` to marketing is lifted by what the person agrees to afterwards; everything else only by `suppress remove`.
    A `dead_number` gets nothing, whatever the scope.

    Example: `echo "06 12 34 56 78" | sms-worker suppress add --phone - --reason complaint`
    """
    number = read_phone(phone)
    asyncio.run(_add(config, number, reason, scope))
    whole = scope is Scope.EVERYTHING or reason is SuppressedFor.DEAD_NUMBER
    say(f"{masked(number)} gets no {'text' if whole else 'marketing'} any more", err=True)


async def _add(config: Path, number: Number, reason: SuppressedFor, scope: Scope) -> None:
    async with open_tools(config, in_need=True) as tools:
        person = person_of(number.e164, tools.pepper)
        told = {"person": person, "reason": reason, "scope": scope}
        await tools.sink.publish(audit_record(tools.topics, "suppress.add", **told))
        await Suppressing(tools.database).add([SuppressionRow(person, scope, reason)])


@app.command()
def remove(phone: PhoneOption, scope: ScopeOption = Scope.MARKETING, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """
    Lift a suppression, if it was a mistake. Audited. Exits 1 if there is none.

    What the person did themselves stays: who revoked their consent must grant it again.
    """
    number = read_phone(phone)
    was = asyncio.run(_remove(config, number, scope))
    if not was:
        say(f"{masked(number)} has no suppression of {scope}", err=True)
        raise typer.Exit(1)
    for row in was:
        say(f"lifted: {row.reason}, of {_day(row)}", err=True)


async def _remove(config: Path, number: Number, scope: Scope) -> list[SuppressionRow]:
    async with open_tools(config, in_need=True) as tools:
        person = person_of(number.e164, tools.pepper)
        await tools.sink.publish(audit_record(tools.topics, "suppress.remove", person=person, scope=scope))
        return await Suppressing(tools.database).remove(person, scope)


@app.command()
def ls(
    most: Annotated[int, typer.Option("--max", min=1, help="Of the newest.")] = 20,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Count the suppressions by reason, and list the newest."""
    asyncio.run(_ls(config, most))


async def _ls(config: Path, most: int) -> None:
    async with open_tools(config, in_need=True) as tools:
        suppressing = Suppressing(tools.database)
        counts, newest = await suppressing.count(), await suppressing.newest(most)
    table = Table(box=None)
    for heading in ("scope", "reason", "numbers"):
        table.add_column(heading, justify="right" if heading == "numbers" else "left")
    for (scope, reason), count in sorted(counts.items()):
        table.add_row(scope, reason, str(count))
    console().print(table)
    for row in newest:
        console().print(f"{_day(row)}  {row.scope}  {row.reason}  person {row.person}")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV with a column phone; - is standard input.", allow_dash=True)],
    reason: ReasonOption = SuppressedFor.STOP,
    scope: ScopeOption = Scope.MARKETING,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """
    Suppress every number of a CSV file: another system's STOP list. Audited.

    Columns: phone, and optionally at (ISO 8601; when it was said), reason and scope, which win over the options. Lines that
    cannot be read are told by their number and left out; then it exits 1. Importing again changes nothing.
    """
    taken, bad = asyncio.run(_import(config, file, reason, scope))
    tell_of_import(taken, bad, "suppressed")


async def _import(config: Path, file: Path, reason: SuppressedFor, scope: Scope) -> tuple[int, list[str]]:
    rows = list(read_csv(file, ("phone",), ("at", "reason", "scope")))
    async with open_tools(config, in_need=True) as tools:

        def read(row: Row) -> SuppressionRow | str:
            return _read(row, file, reason, scope, tools.pepper, tools.clock.now())

        add = Suppressing(tools.database).add
        return await take_over(tools, rows, "suppress.import", read, add, reason=reason, scope=scope)


def _read(
    row: Row, file: Path, reason: SuppressedFor, scope: Scope, pepper: Pepper, now: datetime
) -> SuppressionRow | str:
    """Return a line as a suppression, or what is wrong with it; never the number."""
    place, number = f"{file}:{row.line}", parse_number(row.fields["phone"])
    if not isinstance(number, Number):
        return f"{place}: phone: {number.reason}"
    try:
        said = row.fields.get("at")
        at = datetime.fromisoformat(said) if said else None
        its_reason = SuppressedFor(row.fields.get("reason") or reason)
        its_scope = Scope(row.fields.get("scope") or scope)
    except ValueError:
        reasons, scopes = ", ".join(SuppressedFor), ", ".join(Scope)
        return f"{place}: wants at in ISO 8601, reason one of {reasons}, scope one of {scopes}"
    if at is not None:
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        if at > now:  # it is obeyed, but must not overrule what its person agrees to from now on
            say(f"{place}: at: is in the future; taken over as said now", err=True)
            at = now
    return SuppressionRow(person_of(number.e164, pepper), its_scope, its_reason, at.timestamp() if at else None)


def _day(row: SuppressionRow) -> str:
    return datetime.fromtimestamp(row.at or 0.0, UTC).date().isoformat()
