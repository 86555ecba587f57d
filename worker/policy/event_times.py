"""
When an event happened: its own time stands, unless it is ahead of the worker's clock.

A record's time is its producer's or its broker's, and may be wrong or of any unit; it overrules no event's own. A withdrawal
whose own time cannot be counts from its arrival: no slip of a clock may let a yes of before overrule it.
"""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter, ValidationError

from schemas.contract import Time

MAX_AHEAD = timedelta(minutes=5)  # clocks of emitters differ by less; what is further ahead of ours is clamped
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)  # nothing was published before: a clock that was never set, or another unit
_TIME: TypeAdapter[datetime] = TypeAdapter(Time)


class TimeDoubt(StrEnum):
    """Why an event's own time, or its record's, is not taken as it stands: the closed list of the metric's label."""

    AHEAD = "ahead"
    IMPLAUSIBLE = "implausible"
    RECORD = "record"
    PROJECTED_AHEAD = "projected_ahead"


def arrival(record_time: datetime, now: datetime) -> tuple[datetime, TimeDoubt | None]:
    """Return when a record came, as far as its own time can be believed: *now* where it cannot be."""
    if EARLIEST <= record_time <= now + MAX_AHEAD:
        return min(record_time, now), None
    return now, TimeDoubt.RECORD


def event_time(
    own: Any, record_time: datetime, now: datetime, *, takes_away: bool
) -> tuple[datetime, TimeDoubt | None]:
    """
    Return when an event happened, and why that is not what it says; None if it is.

    Args:
        own: What it says, as it was published; None or an empty text if nothing.
        record_time: Of its Kafka record.
        now: The worker's time of day.
        takes_away: It is a withdrawal or an erasure, which counts from *now* if its own time cannot be.

    Raises:
        ValidationError: It says what is no time, and takes nothing away.
    """
    if own is None or own == "":
        return arrival(record_time, now)
    try:
        time = _TIME.validate_python(own)
    except ValidationError:
        if takes_away:
            return now, TimeDoubt.IMPLAUSIBLE
        raise
    if takes_away and time < EARLIEST:
        return now, TimeDoubt.IMPLAUSIBLE
    if time > now + MAX_AHEAD:
        return (now if takes_away else arrival(record_time, now)[0]), TimeDoubt.AHEAD
    return time, None
