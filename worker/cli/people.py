"""How commands are told whom they are about: numbers come from standard input or a file, never from the command line."""

import csv
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from worker.policy.number import Number, parse_number

PhoneOption = Annotated[
    str,
    typer.Option(
        "--phone",
        help="- reads the number from standard input: on the command line it would stay in the shell's history.",
    ),
]


class Row(NamedTuple):
    """A line of a CSV file, and which."""

    line: int
    fields: dict[str, str]


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
        file = sys.stdin if str(path) == "-" else path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be read: {error.strerror}") from error
    with closing(file):
        sample = file.readline()
        delimiter = ";" if sample.count(";") > sample.count(",") else ","
        header = [name.strip().lower() for name in next(csv.reader([sample], delimiter=delimiter), [])]
        if missing := [name for name in required if name not in header]:
            raise typer.BadParameter(f"{path}:1: no column {missing[0]!r}; found {', '.join(header) or 'nothing'}")
        if unknown := [name for name in header if name not in (*required, *optional)]:
            told = f"{path}:1: column {unknown[0]!r} is not known; there are {', '.join((*required, *optional))}"
            raise typer.BadParameter(told)
        reader = csv.DictReader(file, header, delimiter=delimiter)
        for fields in reader:
            yield Row(reader.line_num + 1, {name: (fields.get(name) or "").strip() for name in header})
