"""
Conditions of routes, in CEL, checked against the event's model when they are loaded.

Every field that the model has is declared under its dotted name, so an unknown one fails at load with its column, and
only the fields that a condition names are handed over at run time. Source: https://cel.dev, cel-expr-python.
"""

import re
import types
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Union, get_args, get_origin

from cel_expr_python import cel
from pydantic import BaseModel

from schemas.events import EventData
from worker.errors import DeadLetterReason, PermanentError

MAX_CHARACTERS = 1_000
CONTACT_FIELDS: dict[str, Any] = {
    "contact.country": cel.Type.DYN,
    "contact.locale": cel.Type.DYN,
    "contact.zone": cel.Type.DYN,
    "contact.attributes": cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
}
EVENT_FIELDS: dict[str, Any] = dict.fromkeys(("event.id", "event.source", "event.type", "event.time"), cel.Type.STRING)


@dataclass(frozen=True, slots=True)
class Condition:
    """
    A compiled condition.

    Attributes:
        names: The dotted names it uses, each with its steps.
        needs_contact: Whether it cannot be decided without the contact.
    """

    source: str
    names: tuple[tuple[str, tuple[str, ...]], ...]
    needs_contact: bool
    _environment: Any
    _expression: Any

    def holds(self, scope: Mapping[str, Any]) -> bool:
        """
        Return whether the condition is true for *scope* (`data`, `contact`, `event`).

        An attribute that the contact lacks makes it false: who has no `orders_90d` is in no segment by it.

        Raises:
            PermanentError: It failed: types that do not compare, or too much work.
        """
        try:
            values = {name: _look_up(scope, steps) for name, steps in self.names}
            result = self._expression.eval(self._environment.Activation(values))
        except RuntimeError as error:
            raise PermanentError(DeadLetterReason.RULE_FAILED, "the condition cost too much", field="when") from error
        if result.type() == cel.Type.BOOL:
            return bool(result.value())
        if "key not found" in str(result.value()).lower():
            return False
        raise PermanentError(
            DeadLetterReason.RULE_FAILED, "the condition does not fit this event's types", field="when"
        )


def compile_condition(source: str, model: type[EventData]) -> Condition:
    """
    Compile *source* for events of *model*.

    Raises:
        ValueError: With the column, what was found, and the names there are.
    """
    if len(source) > MAX_CHARACTERS:
        raise ValueError(f"{len(source)} characters; {MAX_CHARACTERS} is the most")
    known = {**fields_of(model, "data"), **CONTACT_FIELDS, **EVENT_FIELDS}
    environment = cel.NewEnv(variables=known)
    try:
        expression = environment.compile(source)
    except RuntimeError as error:
        raise ValueError(_tell(str(error), known)) from error
    if expression.return_type() not in (cel.Type.BOOL, cel.Type.DYN):
        raise ValueError(f"gives {expression.return_type()}; a condition gives true or false")
    named = tuple(name for name in known if re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", source))
    steps = tuple((name, tuple(name.split("."))) for name in named)
    needs_contact = any(name.startswith("contact.") for name in named)
    return Condition(source, steps, needs_contact, environment, expression)


def types_of(model: type[BaseModel], prefix: str) -> dict[str, Any]:
    """Return every field of *model*, dotted, with its Python type."""
    types_by_path: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        path, kind = f"{prefix}.{name}", bare(field.annotation)
        nested = isinstance(kind, type) and issubclass(kind, BaseModel)
        types_by_path |= types_of(kind, path) if nested else {path: kind}
    return types_by_path


def fields_of(model: type[BaseModel], prefix: str) -> dict[str, Any]:
    """Return every field of *model* that a condition may name, dotted, with its CEL type."""
    return {path: _cel_type(kind) for path, kind in types_of(model, prefix).items()}


def _cel_type(kind: Any) -> Any:
    if kind is bool:
        return cel.Type.BOOL
    return cel.Type.LIST if get_origin(kind) in (tuple, list) else cel.Type.DYN


def bare(annotation: Any) -> Any:
    """Return the type behind `Annotated` and `| None`."""
    if hasattr(annotation, "__metadata__"):
        return bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [argument for argument in get_args(annotation) if argument is not type(None)]
        return bare(rest[0]) if len(rest) == 1 else annotation
    return annotation


def _look_up(scope: Mapping[str, Any], steps: tuple[str, ...]) -> Any:
    value: Any = scope
    for step in steps:
        value = value.get(step) if isinstance(value, dict) else getattr(value, step, None)
    if isinstance(value, datetime | date):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else value


def _tell(error: str, known: Mapping[str, Any]) -> str:
    found = re.search(r"<input>:1:(\d+): ([^\n]*)", error)
    if found is None:
        return error.splitlines()[0]
    column, message = found.group(1), re.sub(r" \(in container ''\)", "", found.group(2))
    hint = f"; there are {', '.join(sorted(known))}" if "undeclared" in message else ""
    return f"column {column}: {message}{hint}"
