"""Promotions."""

from typing import Annotated, ClassVar

from pydantic import Field

from schemas.contract import Day, Reference, ShortText, Url
from schemas.events.base import ForMany


class PromotionAnnounced(ForMany):
    """An offer for a small audience; larger audiences come as several events."""

    event_type: ClassVar[str] = "promotion.announced"

    promotion_id: Reference
    title: Annotated[str, Field(min_length=1, max_length=40)] = Field(description="What is on offer: running shoes.")
    discount_percent: int = Field(ge=1, le=90)
    code: str = Field(pattern=r"^[A-Z0-9]{3,12}$")
    ends_on: Day
    url: Url
    interest: ShortText | None = Field(default=None, description="Only for people with this interest: running.")
    city: ShortText | None = Field(default=None, description="Only for people of this town.")
