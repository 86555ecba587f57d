"""`schemas export`."""

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.printing import say
from worker.contracts import generate

app = typer.Typer(help="The contracts with other teams.", no_args_is_help=True)


@app.command("export")
def export(
    folder: Annotated[Path, typer.Argument(help="Where to write.")] = Path("schemas"),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if a file differs from the models.")
    ] = False,
) -> None:
    """Write the JSON Schema of every event, message, outcome and dead letter, and the AsyncAPI 3 document."""
    stale = []
    for name, content in generate().items():
        path = folder / name
        if path.exists() and path.read_text() == content:
            continue
        stale.append(path)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    for path in stale:
        say(str(path))
    if check and stale:
        say("these differ from the models; run `sms-worker schemas export`", err=True)
        raise typer.Exit(1)
