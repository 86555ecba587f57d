"""
How commands print: tables as wide as the terminal, progress beside the data.

What comes from a record is somebody else's: a terminal that obeys its escape sequences would write to the clipboard
(OSC 52), or show what is not there. So every command prints by this module, which writes control characters out.
"""

import re
from collections.abc import Iterable
from typing import Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.segment import Segment

WIDTH_OF_A_FILE = 200
# C0 but tab and line feed, DEL, C1, and what turns the direction of writing: a terminal obeys them.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """Return *text* with what a terminal would obey written out, as Python writes it."""
    return _OBEYED.sub(lambda found: ascii(found[0])[1:-1], text)


def say(message: str | bytes = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a line; bytes are JSON, in which control characters are escaped so that it reads alike."""
    if isinstance(message, bytes):
        text = _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", message.decode())
    else:
        text = plain(message)
    typer.echo(text, err=err, nl=nl)


class PlainConsole(Console):
    """A console that writes out what its data would have a terminal do; its own colours and lines stay."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of *renderable*."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(plain(segment.text), segment.style)


def console(**options: Any) -> Console:
    """Return a console as wide as the terminal; a file gets long lines."""
    return PlainConsole(highlight=False, width=None if Console().is_terminal else WIDTH_OF_A_FILE, **options)


def progress() -> Progress:
    """Return a progress bar on standard error; none where that is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn())
    shown = PlainConsole(stderr=True)
    return Progress(*columns, console=shown, disable=not shown.is_terminal)
