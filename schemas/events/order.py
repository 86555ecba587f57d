"""Orders, from confirmation to refund."""

from typing import ClassVar

from pydantic import Field

from schemas.contract import Day, Money, Reference, ShortText, Url
from schemas.events.base import ForOne, Recipient


class _Order(ForOne):
    reference: ClassVar[str | None] = "order_id"

    order_id: Reference = Field(description="As the customer knows it: 1234.")
    shop: ShortText | None = Field(default=None, description="Where it was bought, if not online.")


class OrderConfirmed(_Order):
    """The order is paid and accepted."""

    event_type: ClassVar[str] = "order.confirmed"

    total: Money
    cart_id: Reference | None = Field(default=None, description="The cart it came from; ends that cart's reminder.")


class OrderShipped(_Order):
    """The parcel has left."""

    event_type: ClassVar[str] = "order.shipped"

    carrier: ShortText | None = None
    tracking_url: Url
    gift_recipient: Recipient | None = Field(default=None, description="Whom the parcel is for, if somebody else.")


class OrderOutForDelivery(_Order):
    """The parcel comes today."""

    event_type: ClassVar[str] = "order.out_for_delivery"

    window: ShortText | None = Field(default=None, description="14:00-16:00")


class OrderDelivered(_Order):
    """The parcel has been handed over."""

    event_type: ClassVar[str] = "order.delivered"

    place: ShortText | None = Field(default=None, description="mailbox, neighbour, locker 12")


class OrderCancelled(_Order):
    """The order will not be sent."""

    event_type: ClassVar[str] = "order.cancelled"

    refund: Money | None = None


class OrderRefunded(_Order):
    """Money went back."""

    event_type: ClassVar[str] = "order.refunded"

    refund: Money
    expected_on: Day | None = None
