"""When a route's message may go, and what makes it pointless meanwhile: `delay`, `at` and `unless`."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import Field

from schemas.events import EventData
from worker.config_files import Config, parse_duration
from worker.errors import DeadLetterReason, PermanentError
from worker.sealing import Pepper

LENGTH_OF_A_DATE = len("2026-11-28")
_AT = re.compile(r"^(?P<path>data(?:\.[a-z_]\w*)+)(?:\s*(?P<sign>[+-])\s*(?P<duration>\S+))?$")
DataPath = Annotated[str, Field(pattern=r"^data(\.[a-z_]\w*)+$")]


class Unless(Config):
    """
    An event that makes a waiting message pointless.

    Attributes:
        type: Of that event.
        correlate: What both events must have alike: `data.cart_id`.
    """

    type: str
    correlate: DataPath

    def name(self, value: object, pepper: Pepper) -> str:
        """Return the keyed hash under which such an event is remembered."""
        return pepper.name("seen", f"{self.type}\x1f{self.correlate}\x1f{value}")

    def value(self, data: EventData) -> object:
        """Return what *data* has at `correlate`; None if it is left out."""
        return look_up(data, self.correlate)


@dataclass(frozen=True, slots=True)
class At:
    """A time that the event names, moved by a duration: `data.starts_at - 24h`."""

    path: str
    shift: timedelta

    def time(self, data: EventData | Mapping[str, Any], zone: ZoneInfo) -> datetime:
        """
        Return the time in *data*, which is typed, or as JSON has it.

        A date without a time begins at midnight in *zone*, and is moved by that clock.

        Raises:
            PermanentError: The event has no time there, or one that no calendar has.
        """
        found = look_up(data, self.path)
        if isinstance(found, str):
            found = (date if len(found) == LENGTH_OF_A_DATE else datetime).fromisoformat(found)
        if not isinstance(found, date):
            raise PermanentError(DeadLetterReason.RULE_FAILED, "this event leaves it empty", field=self.path)
        found = found if isinstance(found, datetime) else datetime(found.year, found.month, found.day, tzinfo=zone)
        try:
            return (found + self.shift).astimezone(UTC)
        except OverflowError as error:
            raise PermanentError(DeadLetterReason.RULE_FAILED, "is out of range", field=self.path) from error


def parse_at(written: str) -> At:
    """
    Return `data.starts_at - 24h` as a time.

    Raises:
        ValueError: It reads otherwise.
    """
    found = _AT.match(written.strip())
    shift = parse_duration(found["duration"]) if found and found["duration"] else timedelta(0)
    if found is None or not isinstance(shift, timedelta):
        raise ValueError(f"found {written!r}; write a time of the event and a duration: data.starts_at - 24h")
    return At(found["path"], -shift if found["sign"] == "-" else shift)


def look_up(data: EventData | Mapping[str, Any], path: str) -> Any:
    """Return the value at *path* (`data.starts_at`), or None."""
    value: Any = data
    for step in path.split(".")[1:]:
        value = value.get(step) if isinstance(value, Mapping) else getattr(value, step, None)
    return value


def names_of(unless: Iterable[Unless], data: EventData, pepper: Pepper) -> tuple[str, ...]:
    """Return the keyed hash of each of *unless* that *data* names."""
    return tuple(one.name(value, pepper) for one in unless if (value := one.value(data)) is not None)
