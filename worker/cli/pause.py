"""`pause` and `resume`: a lane, an account or a route begins nothing new until it resumes."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from schemas.messages import Lane
from worker.auditing import audit_record, operator
from worker.cli.options import DEFAULT_CONFIG, ConfigOption
from worker.cli.printing import say
from worker.clock import SystemClock
from worker.errors import ConfigurationError, Problem
from worker.kafka.clients import make_producer
from worker.kafka.control import ControlTopic
from worker.kafka.sink import open_sink
from worker.pausing import Pause, Pauses, scopes_in, written
from worker.records import Outgoing
from worker.routing.loading import Configuration, load_in_need
from worker.routing.table import nearest
from worker.topics import Topics

LaneOption = Annotated[list[Lane] | None, typer.Option(help="May be repeated.")]
AccountOption = Annotated[list[str] | None, typer.Option(help="Of providers.yaml. May be repeated.")]
RouteOption = Annotated[list[str] | None, typer.Option(help="A route's id. May be repeated.")]
FileOption = Annotated[
    bool,
    typer.Option(
        "--file",
        help="Through this host's pause file, for when Kafka is down; audited once Kafka takes it.",
    ),
]


def pause(
    reason: Annotated[str, typer.Option(help="Why; everybody who looks sees it.")],
    lane: LaneOption = None,
    account: AccountOption = None,
    route: RouteOption = None,
    file: FileOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """
    Let a lane, an account or a route begin nothing new. Audited.

    What is with a provider ends; everything else waits where it is, survives restarts, and may expire. A route's messages
    wait in the state store, so that others of its lane pass them. Every process hears of it within seconds.

    Example: `sms-worker pause --lane marketing --reason "wrong prices in the autumn offer"`
    """
    _change(config, lane, account, route, paused=True, reason=reason, file=file)


def resume(
    lane: LaneOption = None,
    account: AccountOption = None,
    route: RouteOption = None,
    file: FileOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """
    Let what was paused go on. Audited.

    It begins with one request at a time, and doubles from there, so that what has gathered is no blow to the provider.
    What was not paused is named, and if nothing was, it exits 1.

    Example: `sms-worker resume --lane marketing`
    """
    _change(config, lane, account, route, paused=False, reason="", file=file)


def _change(
    config: Path,
    lanes: list[Lane] | None,
    accounts: list[str] | None,
    routes: list[str] | None,
    *,
    paused: bool,
    reason: str,
    file: bool,
) -> None:
    configuration = load_in_need(config)
    scopes = _scopes(configuration, lanes or [], accounts or [], routes or [])
    pause = Pause(reason, operator(), datetime.now(UTC).isoformat(timespec="seconds"))
    if file:
        before = _edit(configuration.settings.pauses_in, scopes, pause, paused=paused)
    else:
        before = asyncio.run(_publish(configuration, scopes, pause, paused=paused))
    idle = [] if paused else [scope for scope in scopes if scope not in before]
    if changed := [scope for scope in scopes if scope not in idle]:
        say(f"{', '.join(changed)}: {'paused' if paused else 'resumed'}", err=True)
    if idle:
        say(f"{', '.join(idle)}: was not paused", err=True)
    path = configuration.settings.pauses_in
    if not paused and not file and (still := sorted(set(scopes) & scopes_in(_text(path)).keys())):
        say(f"{', '.join(still)}: the file {path} pauses it, too; resume with --file", err=True)
        raise typer.Exit(1)
    if idle == scopes:
        raise typer.Exit(1)


def _scopes(configuration: Configuration, lanes: list[Lane], accounts: list[str], routes: list[str]) -> list[str]:
    routes_known = {route.row.id: route for its in configuration.table.by_type.values() for route in its}
    for option, names, known in (
        ("--account", accounts, configuration.accounts.accounts),
        ("--route", routes, routes_known),
    ):
        for name in names:
            if known and name not in known:  # none are known while the rules have mistakes
                raise ConfigurationError([Problem(option, None, "", f"found {name!r}; {nearest(name, known)}")])
    named = (("lane", [lane.value for lane in lanes]), ("account", accounts), ("route", routes))
    scopes = [f"{kind}:{name}" for kind, names in named for name in names]
    if not scopes:
        raise typer.BadParameter("say what: --lane, --account or --route")
    return scopes


async def _publish(configuration: Configuration, scopes: list[str], pause: Pause, *, paused: bool) -> set[str]:
    """
    Write it down; return what the topic had paused until now.

    What was not paused is resumed all the same: somebody else may be pausing it at this moment.
    """
    kafka = configuration.settings.kafka
    topics = Topics(kafka.prefix)
    known = Pauses(tells=False)
    await ControlTopic(kafka, topics.control, known, SystemClock()).catch_up()
    before = set(known.paused)
    async with open_sink(make_producer(kafka)) as sink:
        for scope in scopes:
            action = "pause" if paused else "resume"
            await sink.publish(audit_record(topics, action, scope=scope, reason=pause.reason))
            key, value = written(scope, paused=paused, pause=pause)
            await sink.publish(Outgoing(topics.control, key, value))
    return before


def _text(path: Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""


def _edit(path: Path, scopes: list[str], pause: Pause, *, paused: bool) -> set[str]:
    """Write the file anew and put it in place at once, so that nobody reads half of it; return what it had paused."""
    there = scopes_in(_text(path))
    before = set(there)
    for scope in scopes:
        if paused:
            there[scope] = pause
        else:
            there.pop(scope, None)
    new = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_text("".join(f"{scope}  # {its.reason}\n" for scope, its in there.items()), "utf-8")
        new.replace(path)
    except OSError as error:
        told = f"{path} cannot be written: {error.strerror}; write `{scopes[0]}` into it where it comes from"
        raise ConfigurationError([Problem("--file", None, "", told)]) from error
    return before
