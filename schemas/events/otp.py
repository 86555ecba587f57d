"""Login codes."""

from typing import ClassVar, Literal

from pydantic import Field

from schemas.contract import Reference
from schemas.events.base import ForOne


class OtpRequested(ForOne):
    """Somebody waits for a code."""

    event_type: ClassVar[str] = "otp.requested"

    code: str = Field(pattern=r"^[0-9A-Z]{4,10}$")
    valid_minutes: int = Field(default=5, ge=1, le=60)
    purpose: Literal["login", "payment", "signup"] = "login"
    request_id: Reference | None = None


class OtpVerified(ForOne):
    """The code was typed in; no text follows, but conversion is measured."""

    event_type: ClassVar[str] = "otp.verified"

    request_id: Reference | None = None
