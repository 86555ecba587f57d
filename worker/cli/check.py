"""`check`: the whole configuration, with every problem's place."""

from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Any

import orjson
import typer

from worker import __version__
from worker.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from worker.cli.printing import say
from worker.errors import ConfigurationError, Problem
from worker.routing.loading import load_configuration
from worker.settings import DeliveryMode


class Format(StrEnum):
    """How problems are told."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"


def check(
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
    told: Annotated[
        Format, typer.Option("--format", help="SARIF 2.1.0 shows problems at their lines in a code review.")
    ] = Format.TEXT,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on warnings, too.")] = False,
) -> None:
    """
    Validate the whole configuration and print every problem with its file, line and field.

    Routes, templates, policy and accounts are held together: texts are counted in their worst case, transactional ones
    are searched for advertising, marketing ones for STOP, brand and a call to action.

    Exits 0 if the worker would start, 3 if not; with --strict, 3 on warnings as well.
    """
    form = Format.JSON if as_json else told
    try:
        loaded = load_configuration(config)
    except ConfigurationError as error:
        _print(error.problems, form)
        raise typer.Exit(3) from None
    if loaded.settings.delivery.mode is not DeliveryMode.SIMULATE and (
        missing := loaded.accounts.missing_credentials()
    ):
        _print(missing, form)
        raise typer.Exit(3)
    _print(loaded.warnings, form)
    if form is Format.TEXT:
        routes = sum(map(len, loaded.table.by_type.values()))
        say(
            f"{routes} routes, {len(loaded.templates.by_id)} templates, {len(loaded.accounts.accounts)} accounts: all good",
            err=True,
        )
        say("the pepper is never rotated: every STOP is filed under it; back it up with the key ring", err=True)
    if strict and loaded.warnings:
        raise typer.Exit(3)


def _print(problems: list[Problem], form: Format) -> None:
    match form:
        case Format.JSON:
            say(orjson.dumps([asdict(problem) for problem in problems], option=orjson.OPT_INDENT_2))
        case Format.SARIF:
            say(orjson.dumps(_sarif(problems), option=orjson.OPT_INDENT_2))
        case Format.TEXT:
            for problem in problems:
                say(f"{'warning: ' if problem.warning else ''}{problem}")


def _sarif(problems: list[Problem]) -> dict[str, Any]:
    """Return *problems* as the Static Analysis Results Interchange Format has them (OASIS, SARIF 2.1.0)."""
    results = [
        {
            "ruleId": "configuration",
            "level": "warning" if problem.warning else "error",
            "message": {"text": f"{problem.field}: {problem.message}" if problem.field else problem.message},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": problem.file},
                        "region": {"startLine": problem.line or 1},
                    }
                }
            ],
        }
        for problem in problems
    ]
    driver = {"name": "sms-worker check", "version": __version__, "rules": [{"id": "configuration"}]}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
