"""Options by which letters and outcomes are chosen, written once for every command that has them."""

import inspect
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from functools import wraps
from typing import Annotated, Any

import typer

from schemas.messages import Lane
from worker.config_files import parse_moment
from worker.errors import DeadLetterReason
from worker.replaying.letters import ROUTER_STAGE, LetterFilter
from worker.routing.table import nearest

_TIME = "A time (2026-11-23T08:00Z), or how long ago: 45m, 2h, 3d."
LETTER_OPTIONS: dict[str, Any] = {
    "reason": Annotated[str | None, typer.Option(help="Reason code: missing_variable.")],
    "stage": Annotated[str | None, typer.Option(help="router, urgent, transactional or marketing.")],
    "event_type": Annotated[str | None, typer.Option("--type", help="Event type: order.shipped.")],
    "route": Annotated[str | None, typer.Option(help="Route id; router letters have none.")],
    "template": Annotated[str | None, typer.Option(help="Template id; router letters have none.")],
    "campaign": Annotated[str | None, typer.Option(help="Campaign; router letters have none.")],
    "event_id": Annotated[str | None, typer.Option(help="The event's id.")],
    "key": Annotated[str | None, typer.Option(help="The letter's key, a keyed hash, as `ls --json` shows it.")],
    "since": Annotated[str | None, typer.Option(help=_TIME)],
    "until": Annotated[str | None, typer.Option(help=_TIME)],
}


def with_letter_filter(command: Callable[..., None]) -> Callable[..., None]:
    """Give *command* the options that choose letters; it gets them as one `wanted: LetterFilter`."""

    @wraps(command)
    def parsed(**options: Any) -> None:
        chosen = {name: options.pop(name) for name in LETTER_OPTIONS}
        _check(chosen["stage"], "stage", (ROUTER_STAGE, *Lane))
        _check(chosen["reason"], "reason", tuple(DeadLetterReason))
        times = {name: read_time(chosen[name], name) for name in ("since", "until")}
        command(wanted=LetterFilter(**{**chosen, **times}), **options)

    own = [one for name, one in inspect.signature(command).parameters.items() if name != "wanted"]
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [
        inspect.Parameter(name, keyword, default=None, annotation=annotation)
        for name, annotation in LETTER_OPTIONS.items()
    ]
    parameters = [*added, *(one.replace(kind=keyword) for one in own)]
    parsed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    parsed.__annotations__ = {one.name: one.annotation for one in parameters}
    return parsed


def _check(written: str | None, name: str, known: tuple[str, ...]) -> None:
    if written is not None and written not in known:
        raise typer.BadParameter(f"found {written!r}; {nearest(written, dict.fromkeys(known))}", param_hint=f"--{name}")


def read_time(written: str | None, name: str, zone: tzinfo = UTC) -> datetime | None:
    """
    Return `2h` as two hours ago, or an ISO 8601 time, of *zone* where it says none.

    Raises:
        typer.BadParameter: It is neither.
    """
    if written is None:
        return None
    try:
        return parse_moment(written, zone)
    except ValueError:
        raise typer.BadParameter(f"found {written!r}; {_TIME}", param_hint=f"--{name}") from None
