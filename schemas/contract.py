"""What every contract shares."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


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


Time = Annotated[datetime, AfterValidator(_with_zone)]
NO_CONTROL_CHARACTERS = r"^[^\x00-\x1f\x7f-\x9f]+$"
ShortText = Annotated[str, Field(min_length=1, max_length=60, pattern=NO_CONTROL_CHARACTERS)]
Reference = Annotated[str, Field(min_length=1, max_length=128, pattern=NO_CONTROL_CHARACTERS)]
Url = Annotated[str, Field(pattern=r"^https?://\S+$", max_length=120)]


class Money(Contract):
    """An amount in the currency's major unit: 49.9 EUR."""

    amount: float = Field(ge=0, le=1e9, allow_inf_nan=False, description="In the currency's major unit.")
    currency: str = Field(default="EUR", pattern="^[A-Z]{3}$", description="ISO 4217.")
