"""Carts."""

from typing import ClassVar

from pydantic import Field

from schemas.contract import Money, Reference, Url
from schemas.events.base import ForOne


class CartAbandoned(ForOne):
    """A cart was left. Reminding of it is prospecting: it needs consent."""

    event_type: ClassVar[str] = "cart.abandoned"
    reference: ClassVar[str | None] = "cart_id"

    cart_id: Reference
    total: Money
    item_count: int = Field(ge=1, le=10_000)
    cart_url: Url
