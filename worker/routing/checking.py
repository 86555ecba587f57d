"""What only shows when routes, templates, topics and accounts are held together."""

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from schemas.contract import Url
from schemas.events import EVENTS
from schemas.messages import Lane
from worker.config_files import YamlFile
from worker.content.composing import compose
from worker.content.templates import Template, Templates
from worker.delivery.accounts import Accounts
from worker.errors import PermanentError, Problem
from worker.routing.conditions import fields_of
from worker.routing.table import Route, RoutingTable, nearest
from worker.settings import Intake, Settings

CONTACT_VARIABLES = frozenset({"contact.first_name", "contact.last_name"})
SAMPLE_TIME = datetime(2026, 1, 1, tzinfo=UTC).isoformat()


def check(
    settings: Settings, worker_file: YamlFile, table: RoutingTable, templates: Templates, accounts: Accounts
) -> list[Problem]:
    """Return every problem, and warnings, in the order of the files."""
    return [
        *_topics(settings, worker_file),
        *_urgent_routes(settings, table),
        *_variables(table, templates),
        *_texts(templates, accounts),
        *_unused(table, templates),
    ]


def _topics(settings: Settings, file: YamlFile) -> Iterable[Problem]:
    for intake, its in settings.intakes.items():
        for index, topic in enumerate(its.topics):
            for name in topic.events:
                if name not in EVENTS:
                    place = ("intakes", intake.value, "topics", index, "events")
                    yield file.problem(place, f"found {name!r}; {nearest(name, EVENTS)}")


def _urgent_routes(settings: Settings, table: RoutingTable) -> Iterable[Problem]:
    """A code behind 60,000 promotions waits 15 seconds: an urgent route is fed by urgent topics alone."""
    fed_by = [
        (name, topic.name, intake)
        for intake, its in settings.intakes.items()
        for topic in its.topics
        for name in topic.events
    ]
    for route in _routes(table):
        feeds = [(topic, intake) for name, topic, intake in fed_by if name == route.row.event]
        place = _place(table, route)
        if not feeds:
            yield table.file.problem(
                (*place, "event"),
                f"no topic of worker.yaml lists {route.row.event} under events",
                warning=True,
            )
        if route.template.lane is not Lane.URGENT:
            continue
        for topic, intake in feeds:
            if intake is not Intake.URGENT:
                found = (
                    f"is urgent by its template {route.row.template}, but {topic} feeds it through the intake {intake}"
                )
                yield table.file.problem((*place, "event"), f"{found}; publish it to an urgent topic")


def _variables(table: RoutingTable, templates: Templates) -> Iterable[Problem]:
    """Every path that a template reads must exist in every event that is routed to it."""
    for name, template in templates.by_id.items():
        events = sorted({route.row.event for route in _routes(table) if route.row.template == name})
        for variable, its in template.variables.items():
            for event in events:
                known = _paths(EVENTS[event], "data") | CONTACT_VARIABLES | {"event.id", "event.type", "event.time"}
                if its.path not in known:
                    message = f"found {its.path!r}, which {event} has not; {nearest(its.path, dict.fromkeys(known))}"
                    yield templates.files[name].problem(("variables", variable), message)


def _texts(templates: Templates, accounts: Accounts) -> Iterable[Problem]:
    """Render each text with the shortest values: what is too long even so can only be too long."""
    for name, template in templates.by_id.items():
        _, account = accounts.of(template.category)
        shortest = {variable: _shortest(its.path, its.sample) for variable, its in template.variables.items()}
        for locale in template.text:
            try:
                compose(template, shortest, locale=locale, zone=None, stop=account.stop_mention)
            except PermanentError as error:
                yield templates.files[name].problem(("text", locale), _tell(template, account.stop_mention, error))


def sample_values(template: Template) -> dict[str, Any]:
    """Return a value for each variable: its sample, or the shortest that the events' models allow."""
    return {
        name: _shortest(its.path, None) if its.sample is None else its.sample
        for name, its in template.variables.items()
    }


def _tell(template: Template, stop: str, error: PermanentError) -> str:
    if error.code == "stop_missing":
        return f"has no STOP mention; write {{{{ stop }}}} ({stop!r}) into it"
    if error.code == "text_too_long":
        return (
            f"is {error} even with the shortest values; shorten it or raise max_segments from {template.max_segments}"
        )
    return str(error)


def _shortest(path: str, sample: Any) -> Any:
    """Return the shortest value that the events' models allow at *path*."""
    if isinstance(sample, int | float):
        return sample
    for model in EVENTS.values():
        node: Any = model
        for step in path.split(".")[1:] if path.startswith("data.") else ():
            field = node.model_fields.get(step) if isinstance(node, type) and issubclass(node, BaseModel) else None
            node = field.annotation if field else None
            node = (
                next((kind for kind in get_args(node) if kind is not type(None)), node)
                if get_origin(node) not in (tuple, list)
                else node
            )
        if node is not None and node is not model:
            return _value(node)
    return SAMPLE_TIME if path == "event.time" else "x"


def _value(kind: Any) -> Any:
    if kind is datetime or kind is date:
        return SAMPLE_TIME if kind is datetime else SAMPLE_TIME[:10]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {"amount": 1.0, "currency": "EUR"}
    if kind in (int, float):
        return 1
    return "https://x.fr" if kind == Url else "x"


def _paths(model: type[BaseModel], prefix: str) -> set[str]:
    """Return the leaves of *model* and the groups they stand in (`data.total` for `data.total.amount`)."""
    leaves = set(fields_of(model, prefix))
    return leaves | {leaf.rsplit(".", 1)[0] for leaf in leaves if leaf.count(".") > 1}


def _unused(table: RoutingTable, templates: Templates) -> Iterable[Problem]:
    used = {route.row.template for route in _routes(table)}
    for name in templates.by_id:
        if name not in used:
            yield templates.files[name].problem((), "no route uses this template", warning=True)


def _routes(table: RoutingTable) -> Iterable[Route]:
    return [route for routes in table.by_type.values() for route in routes]


def _place(table: RoutingTable, route: Route) -> tuple[str | int, ...]:
    rows = table.file.content["routes"]
    return ("routes", next(index for index, row in enumerate(rows) if row["id"] == route.row.id))
