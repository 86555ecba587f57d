"""Invitations."""

from typing import ClassVar

from schemas.contract import Reference, ShortText, Time, Url
from schemas.events.base import ForMany


class EventInvitation(ForMany):
    """An invitation to a sale, a show or a workshop."""

    event_type: ClassVar[str] = "event.invitation"

    invitation_id: Reference
    title: ShortText
    starts_at: Time
    place: ShortText
    rsvp_url: Url
