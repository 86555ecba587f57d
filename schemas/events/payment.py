"""Payments."""

from typing import ClassVar

from schemas.contract import Money, Reference, Url
from schemas.events.base import ForOne


class PaymentFailed(ForOne):
    """A payment was refused and the person can try again."""

    event_type: ClassVar[str] = "payment.failed"
    reference: ClassVar[str | None] = "order_id"

    order_id: Reference
    amount: Money
    retry_url: Url
