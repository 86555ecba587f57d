"""The commands, and how a failure looks."""

import sys

import typer
from rich.console import Console

from worker import __version__
from worker.cli import (
    admin,
    backtest,
    calendar,
    cancel,
    check,
    config,
    consent,
    db,
    dead_letters,
    demo,
    explain,
    find,
    guard,
    keys,
    lint_text,
    numbers,
    outcomes,
    pause,
    person,
    preview,
    report,
    retention,
    run,
    sandbox,
    schemas,
    segments,
    send_test,
    skip,
    status,
    suppress,
    topics,
    why_stuck,
)
from worker.cli.printing import PlainConsole, say
from worker.errors import ConfigurationError, Stuck, WorkerError, leaves
from worker.telemetry.log import set_up_logging

EXIT_FAILED, EXIT_CONFIGURATION, EXIT_STUCK = 1, 3, 4

app = typer.Typer(
    name="sms-worker",
    help="Turn domain events on Kafka into the right SMS for the right person, once, or into a recorded reason not to.\n\n"
    "Start with `sms-worker demo`, then `sms-worker explain EVENT.json`.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    add_completion=False,
    rich_markup_mode="markdown",
)
app.command()(run.run)
app.command()(demo.demo)
app.command()(check.check)
app.command()(explain.explain)
app.command()(find.find)
app.command()(cancel.cancel)
app.command()(backtest.backtest)
app.command()(segments.segments)
app.command()(preview.preview)
app.command("lint-text")(lint_text.lint_text)
app.command()(retention.retention)
app.command("send-test")(send_test.send_test)
app.command()(sandbox.sandbox)
app.command()(admin.admin)
app.command("why-stuck")(why_stuck.why_stuck)
app.command()(skip.skip)
app.command()(status.status)
app.command()(report.report)
app.command()(pause.pause)
app.command()(pause.resume)
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(outcomes.app, name="outcomes")
app.add_typer(consent.app, name="consent")
app.add_typer(person.app, name="person")
app.add_typer(config.app, name="config")
app.add_typer(keys.app, name="keys")
app.add_typer(numbers.app, name="numbers")
app.add_typer(guard.app, name="guard")
app.add_typer(suppress.app, name="suppress")
app.add_typer(topics.app, name="topics")
app.add_typer(schemas.app, name="schemas")
app.add_typer(db.app, name="db")
app.add_typer(calendar.app, name="calendar")


def _version(asked: bool) -> None:
    if asked:
        say(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    del version


def main() -> None:
    """Run the command line; exit codes: 0 done, 1 failed, 2 usage, 3 configuration, 4 stuck, 5 loop blocked."""
    set_up_logging("WARNING")  # data goes to standard output, talk does not
    console = PlainConsole(stderr=True, soft_wrap=True, highlight=False)
    try:
        app()
    except ConfigurationError as error:
        console.print(f"[bold red]{len(error.problems)} problem{'s'[: len(error.problems) > 1]}[/]")
        for problem in error.problems:
            console.print(str(problem), markup=False)
        sys.exit(EXIT_CONFIGURATION)
    except BaseExceptionGroup as group:
        found = leaves(group)
        if not all(isinstance(leaf, WorkerError) for leaf in found):
            raise
        _tell_all(console, found)
    except WorkerError as error:
        _tell_all(console, [error])


def _tell_all(console: Console, errors: list[BaseException]) -> None:
    """Print each error and its causes, a line each, and exit."""
    for error in errors:
        cause: BaseException | None = error
        while cause is not None:
            console.print(f"{type(cause).__name__}: {cause}", markup=False)
            cause = cause.__cause__
    if any(isinstance(error, Stuck) for error in errors):
        sys.exit(EXIT_STUCK)
    sys.exit(EXIT_CONFIGURATION if any(isinstance(error, ConfigurationError) for error in errors) else EXIT_FAILED)
