"""`lint-text`: whether a text advertises, and which of its words do."""

import sys
from enum import StrEnum
from typing import Annotated, Any

import orjson
import typer
from rich.text import Text

from worker.cli.options import JsonOption
from worker.cli.printing import PlainConsole, say
from worker.content.advertising import Finding, find_advertising
from worker.content.selling import MEANING


class Wanted(StrEnum):
    """What the text is to be."""

    TRANSACTIONAL = "transactional"
    MARKETING = "marketing"


def lint_text(
    text: Annotated[
        str | None,
        typer.Argument(
            help='The text. Without it, standard input is read, an object a line: {"text": "…", "locale": "fr"}.'
        ),
    ] = None,
    category: Annotated[
        Wanted, typer.Option(help="What it is to be: a transactional text must not advertise.")
    ] = Wanted.TRANSACTIONAL,
    locale: Annotated[str, typer.Option(help="Its language; French and English are known, alone or mixed.")] = "fr",
    as_json: JsonOption = False,
) -> None:
    """
    Say whether a text advertises, and point at the words that do: the check that every transactional text passes.

    Exits 1 if a transactional text advertises, or a marketing one does not; answers for standard input always exit 0.

    Example: `sms-worker lint-text "Votre colis est arrivé. -20 % ce week-end en boutique !"`
    """
    del locale  # one model knows both languages, and texts that mix them
    if text is not None:
        found = find_advertising(text)
        _answer(text, found, category, as_json=as_json)
        raise typer.Exit(int(bool(found) == (category is Wanted.TRANSACTIONAL)))
    for number, line in enumerate(sys.stdin, start=1):
        if line.strip():
            its = _read(line, number)
            _answer(its, find_advertising(its), category, as_json=as_json)


def _read(line: str, number: int) -> str:
    try:
        read = orjson.loads(line)
    except orjson.JSONDecodeError:
        read = None
    its = read.get("text") if isinstance(read, dict) else None
    if not isinstance(its, str):
        say(f'line {number}: expected a JSON object with a text: {{"text": "Bonjour", "locale": "fr"}}', err=True)
        raise typer.Exit(2)
    return its


def _answer(text: str, found: tuple[Finding, ...], category: Wanted, *, as_json: bool) -> None:
    if as_json:
        say(orjson.dumps({"advertising": bool(found), "spans": [_span(text, one) for one in found]}))
        return
    console, shown = PlainConsole(highlight=False), Text(text)
    for one in found:
        shown.stylize("bold red", one.start, one.end)
    console.print(shown)
    for one in found:
        console.print(f"  {text[one.start : one.end]!r}: {MEANING[one.reason]} ({one.reason})", markup=False)
    if found and category is Wanted.TRANSACTIONAL:
        console.print("It advertises. Leave the words out, or make it a marketing template, with consent and STOP.")
    elif found:
        console.print("It advertises, as marketing does.")
    else:
        console.print("It does not advertise." + (" Is it marketing at all?" if category is Wanted.MARKETING else ""))


def _span(text: str, one: Finding) -> dict[str, Any]:
    words = text[one.start : one.end]
    return {"start": one.start, "end": one.end, "text": words, "reason": one.reason, "meaning": MEANING[one.reason]}
