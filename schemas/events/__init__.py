"""Domain events: one module per domain, one model per type, and this list of them."""

from schemas.events.account import AccountAlert
from schemas.events.appointment import (
    AppointmentBooked,
    AppointmentCancelled,
    AppointmentReminderDue,
    AppointmentRescheduled,
)
from schemas.events.base import EventData, Recipient
from schemas.events.cart import CartAbandoned
from schemas.events.consent import ConsentGranted, ConsentRevoked
from schemas.events.contact import ContactErased, ContactUpdated
from schemas.events.invitation import EventInvitation
from schemas.events.order import (
    OrderCancelled,
    OrderConfirmed,
    OrderDelivered,
    OrderOutForDelivery,
    OrderRefunded,
    OrderShipped,
)
from schemas.events.otp import OtpRequested, OtpVerified
from schemas.events.payment import PaymentFailed
from schemas.events.promotion import PromotionAnnounced

ControlData = ContactUpdated | ContactErased | ConsentGranted | ConsentRevoked

EVENTS: dict[str, type[EventData]] = {
    model.event_type: model
    for model in (
        OrderConfirmed,
        OrderShipped,
        OrderOutForDelivery,
        OrderDelivered,
        OrderCancelled,
        OrderRefunded,
        PaymentFailed,
        AppointmentBooked,
        AppointmentReminderDue,
        AppointmentRescheduled,
        AppointmentCancelled,
        OtpRequested,
        OtpVerified,
        AccountAlert,
        CartAbandoned,
        PromotionAnnounced,
        EventInvitation,
        ContactUpdated,
        ContactErased,
        ConsentGranted,
        ConsentRevoked,
    )
}

__all__ = ["EVENTS", "ControlData", "EventData", "Recipient"]
