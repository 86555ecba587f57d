"""The routing table: which event becomes which message, under which condition, for whom, and when."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import Field

from schemas.events import EVENTS, ControlData, EventData, Recipient
from schemas.messages import Lane
from worker.config_files import LONGEST, Config, Duration, TimeOfDay, YamlFile, duplicates, load_yaml
from worker.content.templates import Template, Templates
from worker.errors import ConfigurationError, DeadLetterReason, PermanentError
from worker.routing.conditions import Condition, compile_condition, types_of
from worker.routing.timing import At, Unless, parse_at
from worker.telemetry import metrics


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
        delay: How long after the event it goes: `45m`, `24h`, `2d`.
        at: When it goes, by a time of the event: `data.starts_at - 24h`. In the past, it goes at once.
        local_time: With `at`: that day at this time of the recipient's own clock: `"09:00"`.
        unless: Events, not earlier than this one, that make it pointless; of the same type, only later ones.
    """

    id: str = Field(pattern=r"^[a-z][a-z0-9-]{1,60}$")
    event: str
    when: str | None = None
    template: str
    to: str | None = Field(default=None, pattern=r"^data(\.[a-z_]\w*)+$")
    campaign: str | None = Field(default=None, max_length=64)
    delay: Duration | None = None
    at: str | None = None
    local_time: TimeOfDay | None = None
    unless: tuple[Unless, ...] = Field(default=(), max_length=10)


class RoutesFile(Config):
    """`routes.yaml`."""

    routes: tuple[RouteRow, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Route:
    """A row with its condition compiled and its template found."""

    row: RouteRow
    template: Template
    condition: Condition | None
    at: At | None = None

    def not_before(self, event_time: datetime, data: EventData | Mapping[str, Any], zone: ZoneInfo) -> datetime | None:
        """
        Return when its message may go to somebody who lives in *zone*; None for at once.

        Raises:
            PermanentError: The event has no usable time where `at` looks, or one that is over a year away.
        """
        if self.row.delay is not None:
            return event_time + self.row.delay
        if self.at is None:
            return None
        time = self.at.time(data, zone)
        if time > event_time + LONGEST:
            raise PermanentError(DeadLetterReason.RULE_FAILED, "is more than a year away", field=self.at.path)
        if self.row.local_time is None:
            return time
        day = time.astimezone(zone).date()
        return datetime.combine(day, self.row.local_time, tzinfo=zone).astimezone(UTC)

    def matches(self, scope: Mapping[str, Any], contact: Mapping[str, Any] | None) -> bool:
        """
        Return whether the route is for somebody with this *contact*; None is a number that is no contact's.

        Raises:
            PermanentError: The condition fits neither this event nor anybody; one person's odd attribute is a no.
        """
        if self.condition is None:
            return True
        try:
            return self.condition.holds({**scope, "contact": contact or {"attributes": {}}})
        except PermanentError:
            if not self.condition.needs_contact:
                raise
            metrics.child(metrics.RULE_FAILURES, self.row.id).inc()
            return False

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
    """
    Every route, by event type, in the order of the file.

    Attributes:
        remembered: By event type, what some route names under `unless`.
        purposes: That consent events may name; all, unless it is part of a configuration.
    """

    by_type: Mapping[str, tuple[Route, ...]]
    file: YamlFile
    remembered: Mapping[str, tuple[Unless, ...]] = field(default_factory=dict)
    purposes: frozenset[str] | None = None

    def for_type(self, event_type: str) -> tuple[Route, ...]:
        """Return the routes of *event_type*."""
        return self.by_type.get(event_type, ())

    def by_id(self, route_id: str) -> Route | None:
        """Return the route of that id, if there is one today."""
        routes = (route for its in self.by_type.values() for route in its)
        return next((route for route in routes if route.row.id == route_id), None)


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
    remembered: dict[str, list[Unless]] = {}
    for one in dict.fromkeys(one for row in rows for one in row.unless):
        remembered.setdefault(one.type, []).append(one)
    return RoutingTable(
        {event_type: tuple(routes) for event_type, routes in by_type.items()},
        file,
        {event_type: tuple(its) for event_type, its in remembered.items()},
    )


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
    return Route(row, template, condition, _timing(row, model, template))


def _timing(row: RouteRow, model: type[EventData], template: Template) -> At | None:
    if row.delay is not None and row.at is not None:
        raise _WrongField("at", "stands beside delay; a route has one of them")
    if template.lane is Lane.URGENT and (row.delay is not None or row.at is not None):
        raise _WrongField("delay" if row.delay else "at", f"template {row.template} is urgent, and urgent never waits")
    for index, one in enumerate(row.unless):
        _check_unless(f"unless[{index}]", one, row.event)
    if row.local_time is not None and row.at is None:
        raise _WrongField("local_time", "stands without at; it says at what time of that day")
    if row.at is None:
        return None
    try:
        at = parse_at(row.at)
    except ValueError as error:
        raise _WrongField("at", str(error)) from error
    times = [path for path, kind in types_of(model, "data").items() if kind in (datetime, date)]
    if at.path not in times:
        there = f"its times are {', '.join(times)}" if times else "it names no time"
        raise _WrongField("at", f"found {at.path!r}, which is no time of {row.event}; {there}")
    return at


def _check_unless(place: str, one: Unless, event: str) -> None:
    if one.type not in EVENTS:
        raise _WrongField(place, f"type: found {one.type!r}; {nearest(one.type, EVENTS)}")
    for name in (event, one.type):
        fields = types_of(EVENTS[name], "data")
        if one.correlate not in fields:
            raise _WrongField(
                place, f"correlate: found {one.correlate!r}, which {name} has not; {nearest(one.correlate, fields)}"
            )


def _recipient_paths(model: type[EventData]) -> set[str]:
    phones = {path for path in types_of(model, "data") if path.endswith("phone")}
    return {path.removesuffix(".phone") for path in phones} | phones


def nearest(name: str, known: Mapping[str, Any]) -> str:
    """Return `did you mean order.shipped?`, or the list of what there is."""
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(known))}"
