"""`consent`: who agreed to what, the proof of it, and lists from elsewhere."""

import asyncio
import csv
import hashlib
import sys
import uuid
from collections.abc import Collection
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import orjson
import typer
from pydantic import ValidationError

from schemas.events.consent import ConsentGranted, ConsentRevoked
from worker.answers.proving import page, verdicts_at
from worker.auditing import audit_record
from worker.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from worker.cli.people import PhoneOption, Row, masked, plain_cells, read_csv, read_phone, take_over, tell_of_import
from worker.cli.printing import console, say
from worker.messages import person_of
from worker.people import Change
from worker.policy.hours import zone_for
from worker.policy.number import Number, parse_number
from worker.policy.rules import Policy
from worker.records import Record
from worker.routing.decoding import first_error
from worker.state.persons import Person, Persons
from worker.state.projection import Projector
from worker.tools import Tools, open_tools

app = typer.Typer(help="Who agreed to what, and the proof of it.", no_args_is_help=True)


async def _read(config: Path, number: Number, action: str) -> tuple[Person, Policy]:
    async with open_tools(config) as tools:
        person = person_of(number.e164, tools.pepper)
        await tools.sink.publish(audit_record(tools.topics, action, person=person))
        return await Persons(tools.database, tools.people).read(person), tools.configuration.policy


@app.command()
def show(phone: PhoneOption, as_json: JsonOption = False, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Say what a person agreed to, withdrew, and whether each purpose is allowed now. Audited."""
    number = read_phone(phone)
    (person, policy), now = asyncio.run(_read(config, number, "consent.show")), datetime.now(UTC)
    consented = verdicts_at(person, now, policy.purposes)
    allowed = verdicts_at(person, now, policy.purposes, policy.existing_customers)
    if as_json:
        acts = [{name: getattr(act, name) for name in act.__slots__ if name != "record"} for act in person.acts]
        told = {"person": person.person, "allowed": allowed, "acts": acts, "suppressions": person.suppressions}
        say(orjson.dumps(told, option=orjson.OPT_INDENT_2))
        return
    out = console()
    out.print(f"[bold]{masked(number)}[/]")
    for purpose, reason in allowed.items():
        yes = "yes" if consented[purpose] is None else "similar products only, as a customer who did not object"
        out.print(f"  {purpose}: {yes if reason is None else f'no, {reason}'}")
    for act in person.acts:
        when = f"{datetime.fromtimestamp(act.at, UTC):%Y-%m-%d %H:%M:%S}"
        place = f"{act.topic}/{act.partition}/{act.offset}"
        out.print(f"  {when}  {act.act} {act.purpose} ({act.channel}, {place})", markup=False)


@app.command()
def prove(
    phone: PhoneOption,
    at: Annotated[
        str | None,
        typer.Option(
            help="The moment that is asked about, in ISO 8601; a date is the end of that day there. Now unless said."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where to write the page.")] = Path("consent.html"),
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """
    Write a page that proves what a person had agreed to on a day: acts, wordings, withdrawals, marketing texts. Audited.

    Example: `echo "06 12 34 56 78" | sms-worker consent prove --phone - --at 2026-11-01`
    """
    number = read_phone(phone)
    moment = _moment(at, zone_for(number.e164, None))
    person, policy = asyncio.run(_read(config, number, "consent.prove"))
    out.write_text(page(person, masked(number), moment, policy.purposes, policy.existing_customers), "utf-8")
    say(f"{out}: {len(person.acts)} acts, {len(person.messages)} texts", err=True)


def _moment(at: str | None, zone: ZoneInfo) -> datetime:
    """Return the moment that *at* names in *zone*; of a day its last."""
    if at is None:
        return datetime.now(zone)
    try:
        moment = datetime.fromisoformat(at)
    except ValueError as error:
        raise typer.BadParameter(f"found {at!r}; write 2026-11-01 or 2026-11-01T10:00", param_hint="--at") from error
    if len(at) == len("2026-11-01"):
        moment = datetime.combine(moment, time.max)
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


@app.command()
def export(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Write every act as CSV to standard output, by the person's keyed hash: no number leaves. Audited."""
    asyncio.run(_export(config))


async def _export(config: Path) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(("person", "act", "purpose", "at", "channel", "wording_version", "topic", "partition", "offset"))
    async with open_tools(config) as tools:
        await tools.sink.publish(audit_record(tools.topics, "consent.export"))
        async for act in Persons(tools.database, tools.people).all_acts():
            writer.writerow(plain_cells(act))


@app.command()
def revoke(
    phone: PhoneOption,
    purposes: Annotated[list[str] | None, typer.Option("--purpose", help="May be repeated; all unless said.")] = None,
    block: Annotated[bool, typer.Option("--block", help="No transactional texts either.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Withdraw for a person who asked by telephone or letter: as if they had, now. Audited."""
    number = read_phone(phone)
    data = ConsentRevoked.model_validate(
        {"recipient": {"phone": number.e164}, "purposes": purposes or (), "channel": "phone", "block": block}
    )
    asyncio.run(_revoke(config, number, data))
    say(f"{masked(number)}: withdrawn", err=True)


async def _revoke(config: Path, number: Number, data: ConsentRevoked) -> None:
    async with open_tools(config, in_need=True) as tools:
        if wrong := set(data.purposes) - set(tools.configuration.policy.purposes):
            there = ", ".join(tools.configuration.policy.purposes)
            raise typer.BadParameter(f"found {min(wrong)!r}; there are {there}", param_hint="--purpose")
        person = person_of(number.e164, tools.pepper)
        told = {"person": person, "purposes": data.purposes, "block": data.block}
        await tools.sink.publish(audit_record(tools.topics, "consent.revoke", **told))
        change = _change(data, tools.clock.now().timestamp(), f"operator:{uuid.uuid4()}", 0)
        await _projector(tools).project([change])


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV; - is standard input.", allow_dash=True)],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """
    Take consents over from another system. Audited; importing a file again changes nothing.

    Columns: phone, purposes (parted by spaces), at (ISO 8601 with offset), channel (web, app, shop, phone, paper, sms),
    wording_version; and optionally wording, brand, ip. Each line is kept, sealed, as the proof. Lines that cannot be
    read are told by their number and left out; then it exits 1.
    """
    taken, bad = asyncio.run(_import(config, file))
    tell_of_import(taken, bad, "consents taken over")


async def _import(config: Path, file: Path) -> tuple[int, list[str]]:
    required = ("phone", "purposes", "at", "channel", "wording_version")
    rows = list(read_csv(file, required, ("wording", "brand", "ip")))
    digest = hashlib.sha256(orjson.dumps([row.fields for row in rows])).hexdigest()[:16]
    async with open_tools(config) as tools:

        def read(row: Row) -> Change | str:
            return _grant(row, file, digest, tools.clock.now(), tools.configuration.policy.purposes)

        return await take_over(tools, rows, "consent.import", read, _projector(tools).project, file=digest)


def _grant(row: Row, file: Path, digest: str, now: datetime, purposes: Collection[str]) -> Change | str:
    """Return a line as a grant, or what is wrong with it; never the number."""
    fields, place = row.fields, f"{file}:{row.line}"
    number = parse_number(fields["phone"])
    if not isinstance(number, Number):
        return f"{place}: phone: {number.reason}"
    try:
        at = datetime.fromisoformat(fields["at"])
    except ValueError:
        return f"{place}: at: is no time in ISO 8601"
    if at.tzinfo is None:
        return f"{place}: at: has no offset from UTC; write 2026-03-01T10:00:00+01:00"
    if at > now:
        return f"{place}: at: is in the future; a yes must not overrule the noes that are to come"
    if unknown := sorted(set(fields["purposes"].split()) - set(purposes)):
        return f"{place}: purposes: found {unknown[0]!r}; there are {', '.join(purposes)}"
    try:
        given: dict[str, Any] = {name: value for name, value in fields.items() if value and name not in ("phone", "at")}
        given["purposes"] = fields["purposes"].split()
        data = ConsentGranted.model_validate({**given, "recipient": {"phone": number.e164}})
    except ValidationError as error:
        where, what = first_error(error)
        return f"{place}: {where}: {what}"
    return _change(data, at.timestamp(), f"import:{digest}", row.line)


def _change(data: ConsentGranted | ConsentRevoked, at: float, source: str, offset: int) -> Change:
    """Return an act that came by no topic; its source and line stand where a record's place does."""
    value = data.model_dump_json(exclude={"recipient"}).encode()
    record = Record(source, 0, offset, int(at * 1000), None, value, ())
    return Change(data, at, f"{source}:{offset}", record, source, value.decode())


def _projector(tools: Tools) -> Projector:
    return Projector(tools.database, tools.people, tools.pepper)
