"""What every contract shares."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)


class Contract(BaseModel):
    """
    A value that crosses a team's border.

    Unknown fields are ignored, so that the other side may add some; a validation error never repeats the
    value it found, as that may be a person's.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True, str_strip_whitespace=True)


def _with_zone(time: datetime) -> datetime:
    """Read a time without a zone as UTC, the only zone that every emitter means alike."""
    return time if time.tzinfo else time.replace(tzinfo=UTC)


# RFC 3339, 5.6, seconds and offset may be missing: digits alone would be read as seconds since 1970, a date as its midnight.
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d")
_LEAP_SECOND = re.compile(r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:)60")


def _date_time(value: object, read: ValidatorFunctionWrapHandler) -> datetime:
    """Read an ISO 8601 date-time and nothing else; `23:59:60` (RFC 3339, 5.7) is the second after `:59`."""
    if not isinstance(value, datetime) and not (isinstance(value, str) and _DATE_TIME.match(value)):
        raise ValueError("is no ISO 8601 date-time: write 2026-12-20T10:00:00+01:00")
    try:
        time: datetime = read(value)
    except ValidationError:
        found = _LEAP_SECOND.match(value) if isinstance(value, str) else None
        if found is None:
            raise
        try:
            time = read(f"{found[1]}59{str(value)[found.end() :]}") + timedelta(seconds=1)
        except OverflowError as error:
            raise ValueError("is out of range") from error
    return time


Time = Annotated[datetime, WrapValidator(_date_time), AfterValidator(_with_zone)]
# Another team's name for something: blanks around it are part of it.
Opaque = StringConstraints(strip_whitespace=False)
NO_CONTROL_CHARACTERS = r"^[^\x00-\x1f\x7f-\x9f]+$"
ShortText = Annotated[str, Field(min_length=1, max_length=60, pattern=NO_CONTROL_CHARACTERS)]
Reference = Annotated[str, Field(min_length=1, max_length=128, pattern=NO_CONTROL_CHARACTERS)]
Url = Annotated[str, Field(pattern=r"^https?://\S+$", max_length=120)]


class Money(Contract):
    """An amount in the currency's major unit: 49.9 EUR."""

    amount: float = Field(ge=0, le=1e9, allow_inf_nan=False, description="In the currency's major unit.")
    currency: str = Field(default="EUR", pattern="^[A-Z]{3}$", description="ISO 4217.")
