"""Appointments."""

from typing import ClassVar

from schemas.contract import Reference, ShortText, Time
from schemas.events.base import ForOne


class _Appointment(ForOne):
    reference: ClassVar[str | None] = "appointment_id"

    appointment_id: Reference
    starts_at: Time
    place: ShortText | None = None


class AppointmentBooked(_Appointment):
    """An appointment was made."""

    event_type: ClassVar[str] = "appointment.booked"


class AppointmentReminderDue(_Appointment):
    """The calendar asks for a reminder now."""

    event_type: ClassVar[str] = "appointment.reminder_due"


class AppointmentRescheduled(_Appointment):
    """The appointment moved to `starts_at`."""

    event_type: ClassVar[str] = "appointment.rescheduled"


class AppointmentCancelled(_Appointment):
    """The appointment will not take place."""

    event_type: ClassVar[str] = "appointment.cancelled"
