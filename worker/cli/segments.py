"""`segments`: what a text costs, and why."""

import sys
import unicodedata
from typing import Annotated

import orjson
import typer
from rich.panel import Panel

from worker.cli.options import JsonOption
from worker.cli.printing import PlainConsole, say
from worker.content.segments import EXTENSION, Segmentation, not_gsm, segment


def segments(
    text: Annotated[
        str | None,
        typer.Argument(
            help="The text, taken as it is. Without it, JSON strings are read from standard input, one a line."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """
    Count a text's segments: encoding, units, where each segment ends, and which characters force UCS-2.

    Example: `echo '"Bonjour Zoë 🎉"' | sms-worker segments --json`
    """
    if text is not None:
        _answer(text, as_json)
        return
    for number, line in enumerate(sys.stdin, start=1):
        if not line.strip():
            continue
        try:
            read = orjson.loads(line)
        except orjson.JSONDecodeError:
            read = None
        if not isinstance(read, str):
            say(f'line {number}: expected a JSON string: "Bonjour"', err=True)
            raise typer.Exit(1)
        _answer(read, as_json)


def _answer(text: str, as_json: bool) -> None:
    cut = segment(text)
    if as_json:
        answer = {
            "encoding": cut.encoding,
            "units": cut.units,
            "segments": cut.segments,
            "borders": cut.borders,
            "not_gsm": not_gsm(text),
        }
        say(orjson.dumps(answer))
        return
    _show(text, cut)


def _show(text: str, cut: Segmentation) -> None:
    console = PlainConsole(highlight=False)
    for number, part in enumerate(cut.parts(text), start=1):
        console.print(Panel(part, title=f"segment {number} of {cut.segments}", width=60), markup=False)
    console.print(f"{cut.encoding}, {cut.units} units, {cut.segments} segment{'s'[: cut.segments > 1]}")
    for character in not_gsm(text):
        console.print(
            f"  {character} ({unicodedata.name(character, 'unnamed')}) is not in GSM-7 and forces UCS-2",
            markup=False,
        )
    if cut.encoding == "GSM-7" and (double := [c for c in dict.fromkeys(text) if c in EXTENSION]):
        console.print(f"  {' '.join(double)} count twice", markup=False)
