"""
Conditions of routes, in CEL, checked against the event's model when they are loaded.

Every field that the model has is declared under its dotted name, so an unknown one fails at load with its column, and
only the fields that a condition names are handed over at run time. Source: https://cel.dev, cel-expr-python.
"""

import re
import types
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Any, Union, get_args, get_origin

from cel_expr_python import cel
from pydantic import BaseModel

from schemas.events import EventData, Recipient
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

        An attribute that the contact lacks makes it false: who has no `orders_90d` is in no segment by it. So does an
        optional value that the event leaves out, where it is compared or reckoned with.

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
        failed = str(result.value()).lower()
        if "key not found" in failed or ("overload" in failed and "null" in failed):
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
    _check_has(source, known)
    environment = cel.NewEnv(variables=known)
    try:
        expression = environment.compile(source)
    except RuntimeError as error:
        raise ValueError(_tell(str(error), known)) from error
    if expression.return_type() not in (cel.Type.BOOL, cel.Type.DYN):
        raise ValueError(f"gives {expression.return_type()}; a condition gives true or false")
    _check_types(source, model)
    named = tuple(name for name in known if re.search(rf"(?<!\w){_spaced(name)}(?!\w)", source))
    steps = tuple((name, tuple(name.split("."))) for name in named)
    needs_contact = any(name.startswith("contact.") for name in named)
    return Condition(source, steps, needs_contact, environment, expression)


def _spaced(name: str) -> str:
    """Return a pattern for a dotted name, around whose dots CEL allows white space."""
    return r"\s*\.\s*".join(map(re.escape, name.split(".")))


def _check_has(source: str, known: Collection[str]) -> None:
    """Refuse `has` of what is no key of a map: CEL compiles it, and no event can be judged by it."""
    blank = _TEXTS.sub(lambda text: " " * len(text[0]), source)
    for found in _HAS.finditer(blank):
        name = re.sub(r"\s", "", found[1])
        if not name.startswith("contact.attributes."):
            leaf = next((path for path in known if path == name or path.startswith(f"{name}.")), name)
            message = f"has() is for contact.attributes; write {leaf} != null"
            raise ValueError(f"column {found.start() + 1}: {message}")


def _check_types(source: str, model: type[EventData]) -> None:
    """
    Compile *source* again with the types that the event's model declares, and refuse what can never work.

    It runs with open types: CEL compares numbers of different kinds then, as `data.total.amount >= 20`, but does not reckon
    with them, nor compare numbers with texts.
    """
    types = types_of(model, "data", readable=True)
    exact = {path: _exact_type(kind, optional=path in _optional_in(model, "data")) for path, kind in types.items()}
    texts = dict.fromkeys(
        ("contact.country", "contact.locale", "contact.zone"), cel.Type("google.protobuf.StringValue")
    )
    environment = cel.NewEnv(variables={**exact, **CONTACT_FIELDS, **texts, **EVENT_FIELDS})
    try:
        gives = environment.compile(source).return_type()
    except RuntimeError as error:
        for found in _ERROR.finditer(str(error)):
            if not _works_at_run_time(found["message"]):
                raise ValueError(f"column {found['column']}: {_in_words(found['message'])}") from error
        return
    if gives not in (cel.Type.BOOL, cel.Type.DYN):
        raise ValueError(f"gives {gives}; a condition gives true or false")


def _works_at_run_time(message: str) -> bool:
    """Whether the checker is stricter than the run time: numbers of two kinds compare, and anything compares with null."""
    found = _NO_OVERLOAD.search(message)
    if found is None:
        return False
    kinds = re.sub(r"wrapper\((\w+)\)|list\((\w+)\)", r"\1\2", found["kinds"]).split(", ")
    if found["operator"].strip("_") in _ARITHMETIC:
        return False
    equality = found["operator"] in ("_==_", "_!=_")
    return set(kinds) <= _NUMBERS or (equality and "null_type" in kinds)


def _in_words(message: str) -> str:
    found = _NO_OVERLOAD.search(message)
    if found is not None and found["operator"].strip("_") in _ARITHMETIC and "double" in found["kinds"]:
        return f"{message}; write numbers as 2.0"
    return re.sub(r" \(in container ''\)", "", message)


_TEXTS = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'")
_HAS = re.compile(r"(?<![\w.])has\s*\(\s*([\w.\s]+?)\s*\)")
_ERROR = re.compile(r"<input>:\d+:(?P<column>\d+): (?P<message>[^\n]*)")
_NO_OVERLOAD = re.compile(
    r"no matching overload for '(?P<operator>_[<>]=?_|_[=!]=_|@in|_[-+*/%]_)' applied to '\((?P<kinds>.*)\)'"
)
_ARITHMETIC = frozenset("+-*/%")
_NUMBERS = frozenset({"int", "uint", "double"})


def types_of(model: type[BaseModel], prefix: str, *, readable: bool = False) -> dict[str, Any]:
    """Return every field of *model*, dotted, with its type; if *readable*, no recipients, which no message carries."""
    types_by_path: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if readable and name in recipients_in(model):
            continue
        path, kind = f"{prefix}.{name}", bare(field.annotation)
        nested = isinstance(kind, type) and issubclass(kind, BaseModel)
        types_by_path |= types_of(kind, path, readable=readable) if nested else {path: kind}
    return types_by_path


@cache
def recipients_in(model: type[BaseModel]) -> frozenset[str]:
    """Return the fields of *model* that say whom a text is for: neither conditions nor templates read them."""
    kinds = {name: bare(field.annotation) for name, field in model.model_fields.items()}
    return frozenset(name for name, kind in kinds.items() if Recipient in (kind, *get_args(kind)))


def _optional_in(model: type[BaseModel], prefix: str, *, inside: bool = False) -> set[str]:
    found: set[str] = set()
    for name, field in model.model_fields.items():
        path, kind = f"{prefix}.{name}", bare(field.annotation)
        optional = inside or kind is not field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= _optional_in(kind, path, inside=optional)
        elif optional:
            found.add(path)
    return found


def fields_of(model: type[BaseModel], prefix: str) -> dict[str, Any]:
    """Return every field of *model* that a condition may name, dotted, with its CEL type at run time."""
    return {path: _cel_type(kind) for path, kind in types_of(model, prefix, readable=True).items()}


def _exact_type(kind: Any, *, optional: bool) -> Any:
    for python, (plain, wrapper) in _EXACT.items():
        if kind is python:
            return cel.Type(f"google.protobuf.{wrapper}") if optional else plain
    if get_origin(kind) in (tuple, list):
        return cel.Type.LIST
    return cel.Type("google.protobuf.StringValue") if optional else cel.Type.STRING  # texts, enums, times as ISO 8601


_EXACT = {
    bool: (cel.Type.BOOL, "BoolValue"),
    int: (cel.Type.INT, "Int64Value"),
    float: (cel.Type.DOUBLE, "DoubleValue"),
}


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
    found = re.search(r"<input>:\d+:(\d+): ([^\n]*)", error)
    if found is None:
        return error.splitlines()[0]
    column, message = found.group(1), re.sub(r" \(in container ''\)", "", found.group(2))
    hint = f"; there are {', '.join(sorted(known))}" if "undeclared" in message else ""
    return f"column {column}: {message}{hint}"
