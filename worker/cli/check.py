"""`check`: the whole configuration, with every problem's place."""

from dataclasses import asdict

import orjson
import typer

from worker.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from worker.errors import ConfigurationError, Problem
from worker.routing.loading import load_configuration
from worker.settings import DeliveryMode


def check(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """
    Validate the whole configuration and print every problem with its file, line and field.

    Exits 0 if the worker would start (warnings or not), 3 if not.
    """
    try:
        loaded = load_configuration(config)
    except ConfigurationError as error:
        _print(error.problems, as_json)
        raise typer.Exit(3) from None
    if loaded.settings.delivery.mode is not DeliveryMode.SIMULATE and (
        missing := loaded.accounts.missing_credentials()
    ):
        _print(missing, as_json)
        raise typer.Exit(3)
    _print(loaded.warnings, as_json)
    if not as_json:
        routes = sum(map(len, loaded.table.by_type.values()))
        typer.echo(
            f"{routes} routes, {len(loaded.templates.by_id)} templates, {len(loaded.accounts.accounts)} accounts: all good",
            err=True,
        )


def _print(problems: list[Problem], as_json: bool) -> None:
    if as_json:
        typer.echo(orjson.dumps([asdict(problem) for problem in problems], option=orjson.OPT_INDENT_2))
        return
    for problem in problems:
        typer.echo(f"{'warning: ' if problem.warning else ''}{problem}")
