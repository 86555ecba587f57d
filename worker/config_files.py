"""YAML files whose mistakes are told with file, line and field."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from datetime import time as time_of_day
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from worker.errors import ConfigurationError, Problem

ModelT = TypeVar("ModelT", bound=BaseModel)
Place = tuple[str | int, ...]
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
LONGEST = timedelta(days=366)


def parse_duration(value: object) -> object:
    """Return `45m` as a duration; anything else as it is, for pydantic to read (ISO 8601: PT45M)."""
    found = re.fullmatch(r"(\d+)\s*([smhdw])", value.strip()) if isinstance(value, str) else None
    return timedelta(**{UNITS[found[2]]: int(found[1])}) if found else value


def _with_unit(value: object) -> object:
    """Refuse a bare number, which pydantic would take for seconds."""
    if isinstance(value, int | float):
        raise ValueError(f"a number without a unit; write {value:g}m, {value:g}h or {value:g}d")  # noqa: TRY004  pydantic's
    return parse_duration(value)


def _time_of_day(value: object) -> object:
    if isinstance(value, int | float):
        raise ValueError(f"no time of day; write {int(value) if 0 <= value < 24 else 9:02}:00")  # noqa: TRY004  pydantic's
    return value


def parse_moment(written: str, zone: tzinfo = UTC) -> datetime:
    """
    Return `2h` as two hours ago, or an ISO 8601 time, of *zone* where it says none.

    Raises:
        ValueError: It is neither.
    """
    try:
        ago = parse_duration(written)
        time = datetime.now(UTC) - ago if isinstance(ago, timedelta) else datetime.fromisoformat(written)
    except OverflowError as error:
        raise ValueError(written) from error
    return time if time.tzinfo else time.replace(tzinfo=zone)


TimeOfDay = Annotated[time_of_day, BeforeValidator(_time_of_day)]
Duration = Annotated[timedelta, BeforeValidator(_with_unit), Field(gt=timedelta(0), le=LONGEST)]


class Config(BaseModel):
    """A part of the configuration: closed, so that a misspelt field is an error and not a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class YamlFile:
    """A file's content, and where each of its fields stands."""

    path: Path
    content: Any

    def line(self, place: Place) -> int:
        """Return the line, counted from 1, of the field at *place*, or of the nearest that exists above it."""
        node, line = self.content, 1
        for step in place:
            if isinstance(node, CommentedMap) and step in node:
                line = _line_of_key(node, step) or line
            elif isinstance(node, CommentedSeq) and isinstance(step, int) and step < len(node):
                line = node.lc.item(step)[0] + 1
            else:
                break
            node = node[step]
        return line

    def problem(self, place: Place, message: str, *, warning: bool = False) -> Problem:
        """Return what is wrong with the field at *place*."""
        return Problem(str(self.path), self.line(place), name_of(place), message, warning)

    def parse(self, model: type[ModelT]) -> ModelT:
        """
        Read the content as a *model*.

        Raises:
            ConfigurationError: With every field that does not fit.
        """
        try:
            return model.model_validate(plain(self.content))
        except ValidationError as error:
            raise ConfigurationError([self.problem(place, message) for place, message in explain(error)]) from error


def _line_of_key(node: CommentedMap, key: object) -> int | None:
    """Return the line of *key*, which may have come in under a merge key (`<<`); None if it stands nowhere."""
    if key in (node.lc.data or {}):
        return int(node.lc.key(key)[0]) + 1
    return next((line for one in node.merge if key in one and (line := _line_of_key(one, key))), None)


def load_yaml(path: Path) -> YamlFile:
    """
    Read a YAML 1.2 file.

    Raises:
        ConfigurationError: It is missing or is no YAML.
    """
    try:
        return YamlFile(path, YAML().load(path) or CommentedMap())
    except OSError as error:
        raise ConfigurationError([Problem(str(path), None, "", f"cannot be read: {error.strerror}")]) from error
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ConfigurationError([Problem(str(path), line, "", f"is not YAML: {error.problem}")]) from error
    except (YAMLError, UnicodeDecodeError) as error:
        told = "is not YAML in UTF-8: it has a byte or a control character that no text has"
        raise ConfigurationError([Problem(str(path), None, "", told)]) from error


def plain(node: Any) -> Any:
    """Return ruamel's containers as plain ones."""
    if isinstance(node, Mapping):
        return {key: plain(value) for key, value in node.items()}
    return [plain(value) for value in node] if isinstance(node, list) else node


def name_of(place: Place) -> str:
    """Return `("routes", 3, "when")` as `routes[3].when`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).lstrip(".")


def explain(error: ValidationError) -> Iterable[tuple[Place, str]]:
    """Yield the place of each mistake, and what was found there and what would be right."""
    for detail in error.errors(include_url=False):
        place = tuple(step for step in detail["loc"] if step != "[key]")
        match detail["type"]:
            case "extra_forbidden":
                yield place, "no such field"
            case "missing":
                yield place, "is required and missing"
            case _:
                found = detail["input"]
                told = f"found {found!r}; " if isinstance(found, str | int | float | bool | None) else ""
                yield place, told + detail["msg"][:1].lower() + detail["msg"][1:]


def duplicates(names: Iterable[str]) -> set[str]:
    """Return the names that come more than once."""
    seen: set[str] = set()
    return {name for name in names if name in seen or seen.add(name)}  # type: ignore[func-returns-value]
