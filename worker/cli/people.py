"""How commands are told whom they are about: numbers come from standard input or a file, never from the command line."""

import csv
import io
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TextIO, TypeVar

import typer

from worker.auditing import auditing_the_end
from worker.cli.printing import progress, say
from worker.config_files import duplicates
from worker.policy.number import Number, parse_number
from worker.tools import Tools

Taken = TypeVar("Taken")
PIECE, MOST_BAD_TOLD = 200, 20
FORMULAS = ("=", "+", "-", "@", "\t", "\r")
PhoneOption = Annotated[
    str,
    typer.Option(
        "--phone",
        help="`-` reads the number from standard input: on the command line it would stay in the shell's history.",
    ),
]


class Row(NamedTuple):
    """
    A line of a CSV file, and which.

    Attributes:
        wrong: Why it cannot be read: its cells would be another column's.
    """

    line: int
    fields: dict[str, str]
    wrong: str | None = None


def read_phone(given: str) -> Number:
    """Return the number on standard input; ends the command if there is none that can be texted."""
    if given != "-":
        raise typer.BadParameter("give - and the number on standard input", param_hint="--phone")
    number = parse_number(sys.stdin.readline().strip())
    if not isinstance(number, Number):
        raise typer.BadParameter(f"the number on standard input is {number.reason}", param_hint="--phone")
    return number


def masked(number: Number) -> str:
    """Return a number with its middle hidden: +336 •• •• •• 78."""
    return f"{number.e164[:4]} •• •• •• {number.e164[-2:]}"


def read_csv(path: Path, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> Iterator[Row]:
    """
    Yield the lines of a CSV file with a header; - reads standard input.

    Ends the command if the header lacks a column, or has one that is not known.
    """
    try:
        raw = sys.stdin.buffer if str(path) == "-" else path.open("rb")
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be read: {error.strerror}") from error
    with closing(io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")) as file, _telling_the_encoding(path):
        yield from _rows(path, file, required, optional)


def _rows(path: Path, file: TextIO, required: tuple[str, ...], optional: tuple[str, ...]) -> Iterator[Row]:
    line = 1
    try:
        sample = file.readline()
        delimiter = ";" if sample.count(";") > sample.count(",") else ","
        header = [name.strip().lower() for name in next(csv.reader([sample], delimiter=delimiter, strict=True), [])]
        _check_header(path, header, required, optional)
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        for cells in reader:
            began, line = line + 1, reader.line_num + 1
            if not cells:
                continue
            message = (
                f"has {len(cells)} cells, and the header {len(header)}; put a cell that holds {delimiter!r} in quotes"
            )
            wrong = f"{path}:{began}: {message}" if len(cells) > len(header) else None
            yield Row(began, dict.fromkeys(header, "") | dict(zip(header, map(str.strip, cells), strict=False)), wrong)
    except csv.Error as error:
        too_long = "field larger than field limit" in str(error)
        what = (
            "a cell is longer than 131072 characters"
            if too_long
            else "a quote opens in the wrong place, or is never closed"
        )
        raise typer.BadParameter(f"{path}:{line + 1}: {what}; nothing was taken over") from error


def _check_header(path: Path, header: list[str], required: tuple[str, ...], optional: tuple[str, ...]) -> None:
    if twice := duplicates(header):
        raise typer.BadParameter(f"{path}:1: column {min(twice)!r} stands twice")
    if missing := [name for name in required if name not in header]:
        raise typer.BadParameter(f"{path}:1: no column {missing[0]!r}; found {', '.join(header) or 'nothing'}")
    if unknown := [name for name in header if name not in (*required, *optional)]:
        message = f"{path}:1: column {unknown[0]!r} is not known; there are {', '.join((*required, *optional))}"
        raise typer.BadParameter(message)


@contextmanager
def _telling_the_encoding(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        told = f"{path}: is not UTF-8 (byte {error.start}); spreadsheets call it 'CSV UTF-8'"
        raise typer.BadParameter(told) from error


def plain_cells(values: Iterable[Any]) -> list[Any]:
    """Return *values* for a line of CSV: text that a spreadsheet would run as a formula begins with an apostrophe.

    Source: OWASP, CSV injection.
    """
    return [f"'{value}" if isinstance(value, str) and value.startswith(FORMULAS) else value for value in values]


async def take_over(
    tools: Tools,
    rows: Sequence[Row],
    action: str,
    read: Callable[[Row], Taken | str],
    write: Callable[[Sequence[Taken]], Awaitable[None]],
    **told: Any,
) -> tuple[int, list[str]]:
    """
    Write what the rows of a file say, some hundred at a time with a bar; audited as *action*, however it ends.

    Args:
        tools: Everything open.
        rows: Of the file.
        action: Its name on `sms.audit`.
        read: Returns a row as what is written, or what is wrong with it.
        write: Writes some of them.
        told: More for the audit.

    Returns:
        How many were written, and what is wrong with the others.
    """
    taken, bad = 0, list[str]()
    with progress() as bar:
        task = bar.add_task(action, total=len(rows))
        async with auditing_the_end(
            tools.topics, tools.sink, action, lambda: {"numbers": taken, "left_out": len(bad), **told}
        ):
            for start in range(0, len(rows), PIECE):
                piece = [row.wrong or read(row) for row in rows[start : start + PIECE]]
                bad += [one for one in piece if isinstance(one, str)]
                good = [one for one in piece if not isinstance(one, str)]
                if good:
                    await write(good)
                taken += len(good)
                bar.advance(task, len(piece))
    return taken, bad


def tell_of_import(taken: int, bad: Sequence[str], what: str) -> None:
    """Say what came of an import, and end the command: 1 if lines were left out."""
    for told in bad[:MOST_BAD_TOLD]:
        say(told, err=True)
    if len(bad) > MOST_BAD_TOLD:
        say(f"and {len(bad) - MOST_BAD_TOLD} more lines", err=True)
    say(f"{taken} {what}, {len(bad)} lines left out", err=True)
    raise typer.Exit(1 if bad else 0)
