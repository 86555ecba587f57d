"""What a template's variables may be, by the models of its events: how long, which values, in which script."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal, get_args, get_origin

from annotated_types import Le, MaxLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from schemas.contract import Money
from schemas.events.base import EventData
from worker.content.templates import Template, Variable
from worker.content.worst_case import FREE
from worker.routing.conditions import bare

# September has the longest name in French and English; both hours have two digits.
LONGEST_TIME, LONGEST_DATE = "2026-09-30T20:30:00+00:00", "2026-09-30"
MOST_MONEY = {"amount": 99_999.99, "currency": "EUR"}  # what a text is counted with; the models allow more
CONTACT_LONGEST = {"contact.first_name": 50, "contact.last_name": 50}
PLAIN_PATTERN = re.compile(r"^\^\[[A-Za-z0-9_.:-]+\]")  # a class of characters that GSM-7 has
PLAIN = "x"


@dataclass(frozen=True, slots=True)
class Bound:
    """
    What a variable may be.

    Attributes:
        values: The longest of each kind that there is, without the default.
        optional: The event may leave it out.
        free: It may hold any character, of any script.
        choices: The values of an enum.
        unbounded: No model says how long it may be.
    """

    values: tuple[Any, ...]
    optional: bool = False
    free: bool = False
    choices: tuple[str, ...] = ()
    unbounded: bool = False


def bounds_of(template: Template, models: Iterable[type[EventData]]) -> dict[str, Bound]:
    """Return the bound of each variable that every one of *models* has, the widest of all models."""
    bounds: dict[str, Bound] = {}
    for model in models:
        for name, variable in template.variables.items():
            one = bound_of(variable, model)
            if one is not None:
                bounds[name] = _wider(bounds[name], one) if name in bounds else one
    return bounds


def bound_of(variable: Variable, model: type[EventData]) -> Bound | None:
    """Return what *variable* may be in events of *model*; None if they have no such field."""
    root, *steps = variable.path.split(".")
    if root == "contact":
        longest = variable.longest or CONTACT_LONGEST.get(variable.path)
        return Bound((FREE * (longest or 0),), optional=True, free=True, unbounded=longest is None)
    if root == "event":
        return Bound((LONGEST_TIME if steps == ["time"] else PLAIN * (variable.longest or 0),), unbounded=False)
    node: Any = model
    info: FieldInfo | None = None
    optional = False
    for step in steps:
        info = node.model_fields.get(step) if isinstance(node, type) and issubclass(node, BaseModel) else None
        if info is None:
            return None
        optional |= not info.is_required() and info.default is None
        node = bare(info.annotation)
    if info is None:
        return None
    return _bound(variable, node, _metadata(info), optional=optional)


def _bound(variable: Variable, kind: Any, metadata: Mapping[type, Any], *, optional: bool) -> Bound:
    if get_origin(kind) is Literal:
        choices = tuple(str(one) for one in get_args(kind))
        return Bound(choices, optional, choices=choices)
    if kind is Money:
        return Bound((MOST_MONEY,), optional)
    if kind in (datetime, date):
        return Bound((LONGEST_TIME if kind is datetime else LONGEST_DATE,), optional)
    if kind in (int, float):
        most = metadata.get(Le, 99_999)
        return Bound((int(most),), optional)
    pattern, longest = metadata.get(str), variable.longest or metadata.get(MaxLen) or _most_of(metadata.get(str))
    is_url = pattern is not None and "https" in pattern
    plain = is_url or (pattern is not None and PLAIN_PATTERN.match(pattern) is not None)
    filler = "https://x.fr/" if is_url else ""
    value = (filler + (PLAIN if plain else FREE) * (longest or 0))[: longest or 0]
    return Bound((value,), optional, free=not plain, unbounded=longest is None)


def _most_of(pattern: str | None) -> int | None:
    """Return the most characters that a pattern of one class allows: `^[A-Z0-9]{3,12}$`."""
    if pattern is None or not pattern.endswith("}$") or "," not in pattern:
        return None
    return int(pattern.rsplit(",", 1)[1].removesuffix("}$"))


def _metadata(info: FieldInfo) -> dict[type, Any]:
    """Return a field's limits: longest, most, and its pattern under `str`; nested `Annotated` included."""
    found: dict[type, Any] = {}
    todo: list[Any] = [*info.metadata, *_nested(info.annotation)]
    for one in todo:
        if isinstance(one, FieldInfo):
            todo.extend(one.metadata)
        elif isinstance(one, MaxLen):
            found[MaxLen] = one.max_length
        elif isinstance(one, Le):
            found[Le] = one.le
        elif getattr(one, "pattern", None):
            found[str] = one.pattern
    return found


def _nested(annotation: Any) -> list[Any]:
    own = list(getattr(annotation, "__metadata__", ()))
    return own + [found for argument in get_args(annotation) for found in _nested(argument)]


def _wider(one: Bound, other: Bound) -> Bound:
    return Bound(
        one.values + tuple(value for value in other.values if value not in one.values),
        one.optional or other.optional,
        one.free or other.free,
        tuple(dict.fromkeys((*one.choices, *other.choices))),
        one.unbounded or other.unbounded,
    )
