"""How commands print: tables as wide as the terminal, progress beside the data."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

WIDTH_OF_A_FILE = 200


def console() -> Console:
    """Return a console as wide as the terminal; a file gets long lines."""
    return Console(highlight=False, width=None if Console().is_terminal else WIDTH_OF_A_FILE)


def progress() -> Progress:
    """Return a progress bar on standard error."""
    columns = (TextColumn("{task.description}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True))
