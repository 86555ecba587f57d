"""The routing table: which event becomes which message, under which condition, for whom."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import Field

from schemas.events import EVENTS, ControlData, EventData, Recipient
from worker.config_files import Config, YamlFile, duplicates, load_yaml
from worker.content.templates import Template, Templates
from worker.errors import ConfigurationError
from worker.routing.conditions import Condition, compile_condition, fields_of


class RouteRow(Config):
    """
    A row of `routes.yaml`.

    Attributes:
        id: Part of every message's id: once it has sent, it must never change.
        event: The event type.
        template: The template's id.
        campaign: A label for its messages; the event's own wins where there is none here.
        when: A condition in CEL; none means always.
        to: Where in the event the recipient is, if not in its usual place: `data.gift_recipient`.
    """

    id: str = Field(pattern=r"^[a-z][a-z0-9-]{1,60}$")
    event: str
    when: str | None = None
    template: str
    to: str | None = Field(default=None, pattern=r"^data(\.[a-z_]\w*)+$")
    campaign: str | None = Field(default=None, max_length=64)


class RoutesFile(Config):
    """`routes.yaml`."""

    routes: tuple[RouteRow, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Route:
    """A row with its condition compiled and its template found."""

    row: RouteRow
    template: Template
    condition: Condition | None

    def addressees(self, data: EventData) -> tuple[Recipient, ...]:
        """Return whom the message is for; nobody if the event leaves the place of `to` empty."""
        if self.row.to is None:
            return data.addressees()
        value: Any = data
        for step in self.row.to.split(".")[1:]:
            value = getattr(value, step, None)
        if value is None:
            return ()
        return (value if isinstance(value, Recipient) else Recipient(phone=str(value)),)


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """Every route, by event type, in the order of the file."""

    by_type: Mapping[str, tuple[Route, ...]]
    file: YamlFile

    def for_type(self, event_type: str) -> tuple[Route, ...]:
        """Return the routes of *event_type*."""
        return self.by_type.get(event_type, ())


def load_routes(path: Path, templates: Templates) -> RoutingTable:
    """
    Read `routes.yaml` whole.

    Raises:
        ConfigurationError: With every mistake of every row.
    """
    file = load_yaml(path)
    rows = file.parse(RoutesFile).routes
    twice = duplicates(row.id for row in rows)
    problems = [
        file.problem(("routes", i, "id"), f"{r.id!r} stands twice; an id is one route")
        for i, r in enumerate(rows)
        if r.id in twice
    ]
    by_type: dict[str, list[Route]] = {}
    for index, row in enumerate(rows):
        try:
            by_type.setdefault(row.event, []).append(_route(row, templates))
        except _WrongField as error:
            problems.append(file.problem(("routes", index, error.field), str(error)))
    if problems:
        raise ConfigurationError(problems)
    return RoutingTable({event_type: tuple(routes) for event_type, routes in by_type.items()}, file)


class _WrongField(Exception):
    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def _route(row: RouteRow, templates: Templates) -> Route:
    model = EVENTS.get(row.event)
    if model is None:
        raise _WrongField("event", f"found {row.event!r}; {nearest(row.event, EVENTS)}")
    if issubclass(model, ControlData):
        raise _WrongField("event", f"{row.event} is projected and never sends")
    template = templates.by_id.get(row.template)
    if template is None:
        raise _WrongField("template", f"found {row.template!r}; {nearest(row.template, templates.by_id)}")
    if row.to is not None and row.to not in _recipient_paths(model):
        raise _WrongField(
            "to",
            f"found {row.to!r}; {row.event} has {', '.join(sorted(_recipient_paths(model))) or 'no such place'}",
        )
    try:
        condition = compile_condition(row.when, model) if row.when else None
    except ValueError as error:
        raise _WrongField("when", str(error)) from error
    return Route(row, template, condition)


def _recipient_paths(model: type[EventData]) -> set[str]:
    phones = {path for path in fields_of(model, "data") if path.endswith("phone")}
    return {path.removesuffix(".phone") for path in phones} | phones


def nearest(name: str, known: Mapping[str, Any]) -> str:
    """Return `did you mean order.shipped?`, or the list of what there is."""
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(known))}"
