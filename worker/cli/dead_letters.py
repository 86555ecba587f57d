"""`dead-letters`: read them, understand each in a minute, and put them back without texting anybody twice."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.markup import escape
from rich.table import Table

from worker.auditing import audit_record
from worker.cli import replaying
from worker.cli.choosing import with_letter_filter
from worker.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from worker.cli.printing import console, say
from worker.errors import DeadLetterReason
from worker.explanations import ADVICE
from worker.people import NOBODY
from worker.records import Place, Record
from worker.replaying.judging import Judgement
from worker.replaying.letters import Letter, LetterFilter
from worker.replaying.looking import COUNTED_BY, count_letters, judge_at, newest_letters
from worker.replaying.putting_back import chosen_letters
from worker.results import restore
from worker.sealing import Erased
from worker.tools import Tools, open_tools

app = typer.Typer(help="Records that could not be handled, and their road back.", no_args_is_help=True)
app.command("replay")(replaying.replay)
app.command("close")(replaying.close)
app.command("release")(replaying.release)
AllOption = Annotated[bool, typer.Option("--all", help="Letters that were handled already, too.")]


@app.command("ls")
@with_letter_filter
def ls(
    wanted: LetterFilter,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    every: AllOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """List dead letters, the newest last. `show` tells more of one; PLACE is topic/partition/offset."""
    letters = asyncio.run(_newest(config, wanted, limit, every=every))
    if as_json:
        say(orjson.dumps([_row(letter) for letter in letters], option=orjson.OPT_INDENT_2))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("PLACE", "WHEN", "REASON", "TYPE", "ROUTE", "TRIES", "FIELD", "ERROR"):
        table.add_column(name, overflow="fold")
    for letter in letters:
        told = letter.headers
        when = letter.record.time.strftime("%m-%d %H:%M:%S")
        names = ("event-type", "route", "attempts", "field", "error")
        cells = ["/".join(map(str, letter.place)), when, letter.reason, *(told.get(name, "") for name in names)]
        table.add_row(*map(escape, cells))
    console().print(table)


@app.command("histogram")
@with_letter_filter
def histogram(
    wanted: LetterFilter,
    every: AllOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Count dead letters by stage, reason, event type and template, the most frequent first."""
    names = COUNTED_BY
    counts = asyncio.run(_counted(config, wanted, every=every))
    if as_json:
        rows = [{**dict(zip(names, key, strict=True)), "letters": count} for key, count in counts.most_common()]
        say(orjson.dumps(rows, option=orjson.OPT_INDENT_2))
        return
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name.upper())
    table.add_column("LETTERS", justify="right")
    for key, count in counts.most_common():
        table.add_row(*map(escape, key), str(count))
    console().print(table)
    say(f"{counts.total()} letters", err=True)


@app.command("show")
def show(
    place: Annotated[str, typer.Argument(help="topic/partition/offset, as `ls` says: sms.router.dlq/2/17.")],
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Print the original too, personal data and all. Audited.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Tell everything of one dead letter: what happened, what to do, and what today's rules would decide."""
    raise typer.Exit(asyncio.run(_show(read_place(place), reveal, config)))


@app.command("export")
@with_letter_filter
def export(
    wanted: LetterFilter,
    every: AllOption = False,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="The originals too, personal data and all. Audited.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Write dead letters to standard output, a JSON object a line."""
    asyncio.run(_export(config, wanted, every=every, reveal=reveal))


def read_place(written: str) -> Place:
    """
    Return `topic/partition/offset` as a place.

    Raises:
        typer.BadParameter: It reads otherwise.
    """
    topic, _, rest = written.partition("/")
    partition, _, offset = rest.partition("/")
    if not (topic and partition.isdecimal() and offset.isdecimal()):
        raise typer.BadParameter(
            f"found {written!r}; write topic/partition/offset: sms.router.dlq/2/17", param_hint="PLACE"
        )
    return Place(topic, int(partition), int(offset))


async def _newest(config: Path, wanted: LetterFilter, limit: int, *, every: bool) -> list[Letter]:
    async with open_tools(config) as tools:
        return await newest_letters(tools, wanted, limit, every=every)


async def _counted(config: Path, wanted: LetterFilter, *, every: bool) -> Counter[tuple[str, ...]]:
    async with open_tools(config) as tools:
        return await count_letters(tools, wanted, every=every)


async def _show(place: Place, reveal: bool, config: Path) -> int:
    async with open_tools(config) as tools:
        judged = await judge_at(tools, place)
        if judged is None:
            say(f"nothing is at {'/'.join(map(str, place))}; its topic may have dropped it", err=True)
            return 1
        _print_letter(judged.letter, judged)
        if reveal:
            await tools.sink.publish(audit_record(tools.topics, "dead-letters.reveal", **place._asdict()))
            say(orjson.dumps(_original(judged.original), option=orjson.OPT_INDENT_2))
        return 0


def _print_letter(letter: Letter, judged: Judgement) -> None:
    screen = console()
    screen.print(
        f"[bold]{escape(letter.reason)}[/] in {escape(letter.stage)}, {letter.record.time.isoformat(timespec='seconds')}"
    )
    if letter.reason in set(DeadLetterReason):
        advice = ADVICE[DeadLetterReason(letter.reason)]
        screen.print(f"  {advice.meaning}\n  {advice.remedy}")
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in letter.headers.items():
        if name not in ("reason", "stage"):
            table.add_row(escape(name), escape(value))
    screen.print(table)
    told = judged.decision + (f": {judged.detail}" if judged.detail else "")
    screen.print(f"Put back today, it [bold]{told}[/]" + (f" ({judged.segments} segments)" if judged.segments else ""))


def _original(original: Record | None) -> dict[str, Any] | None:
    """Return an original as text, personal data and all; None if it cannot be had back."""
    if original is None:
        return None
    return {
        "key": None if original.key is None else original.key.decode(errors="replace"),
        "headers": {name: value.decode(errors="replace") for name, value in original.headers},
        "value": (original.value or b"").decode(errors="replace"),
    }


async def _export(config: Path, wanted: LetterFilter, *, every: bool, reveal: bool) -> None:
    async with open_tools(config) as tools:
        if reveal:
            await tools.sink.publish(audit_record(tools.topics, "dead-letters.export", filters=wanted.told()))
        async for letter in chosen_letters(tools, wanted, every=every):
            row = _row(letter)
            if reveal:
                row["original"] = _original(await _opened(tools, letter))
            say(orjson.dumps(row))


async def _opened(tools: Tools, letter: Letter) -> Record | None:
    key = (await tools.people.load([letter.sealed_for])).get(letter.sealed_for, NOBODY).key
    try:
        return restore(letter.record, key) if key and letter.is_whole else None
    except Erased:
        return None


def _row(letter: Letter) -> dict[str, Any]:
    key = None if letter.record.key is None else letter.record.key.decode(errors="replace")
    return {
        "place": "/".join(map(str, letter.place)),
        "time": letter.record.time.isoformat(),
        "key": key,
        **letter.headers,
    }
