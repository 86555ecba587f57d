"""Consent: a person's dated yes or no to marketing. Read from a control topic and projected."""

from typing import ClassVar, Literal

from pydantic import Field

from schemas.contract import ShortText
from schemas.events.base import ForOne

Purpose = Literal["offers", "invitations", "cart_reminders"]


class ConsentGranted(ForOne):
    """
    A person agreed to texts for these purposes.

    Attributes:
        wording_version: Which wording the person agreed to; *wording* is its text, kept as proof.
        channel: Where the act took place.
    """

    event_type: ClassVar[str] = "consent.granted"

    purposes: tuple[Purpose, ...] = Field(min_length=1)
    channel: Literal["web", "app", "shop", "phone", "paper", "sms"]
    wording_version: ShortText
    wording: str | None = Field(default=None, max_length=2000)
    brand: ShortText | None = None
    ip: str | None = Field(default=None, max_length=45)


class ConsentRevoked(ForOne):
    """
    A person withdrew.

    Attributes:
        purposes: What is withdrawn; none means all marketing.
        block: True forbids transactional texts as well.
    """

    event_type: ClassVar[str] = "consent.revoked"

    purposes: tuple[Purpose, ...] = ()
    channel: Literal["web", "app", "shop", "phone", "paper", "sms"]
    block: bool = False
