"""What every contract shares."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
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


def _written_day(value: object) -> object:
    if isinstance(value, date) or (isinstance(value, str) and _DAY.match(value)):
        return value
    raise ValueError("is no ISO 8601 date: write 2026-12-20")


_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
Day = Annotated[date, BeforeValidator(_written_day)]


def leave_out(info: ValidationInfo, field: str | None = None) -> None:
    """Note for whoever reads an event that one of its optional values is unusable: in the validation's context, a list."""
    if isinstance(info.context, list):
        info.context.append(field or info.field_name)


def _usable_locale(value: object, info: ValidationInfo) -> object:
    """Return a language tag without its extensions (`fr-FR-u-fw-mon`, `fr_FR.UTF-8`); an unusable one is none."""
    if value is None:
        return None
    tag = _TAG.match(value) if isinstance(value, str) else None
    if tag is None or len(tag[1]) > MAX_LOCALE:
        leave_out(info)
        return None
    return tag[1]


def _usable_zone(value: object, info: ValidationInfo) -> object:
    """Return a zone; what no name of one can be is none. Whether there is such a zone, the worker looks up."""
    if value is None or (isinstance(value, str) and len(value) <= MAX_ZONE):
        return value
    leave_out(info)
    return None


MAX_LOCALE, MAX_ZONE = 35, 64
_TAG = re.compile(r"\s*([A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*)(?=[-_][A-Za-z0-9][-_]|[.@]|\s*$)")
_Tag = Annotated[str, Field(max_length=MAX_LOCALE, pattern=r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*$")]
Locale = Annotated[_Tag | None, BeforeValidator(_usable_locale)]
Zone = Annotated[Annotated[str, Field(max_length=MAX_ZONE)] | None, BeforeValidator(_usable_zone)]
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
