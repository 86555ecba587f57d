"""Consent: a person's dated yes or no to marketing. Read from a control topic and projected."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from schemas.contract import ShortText
from schemas.events.base import ForOne

# Which there are, an installation says in its policy.yaml; one that it does not name is a dead letter, and no silent yes.
Purpose = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,38}$")]


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
