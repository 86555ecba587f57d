"""When a message may go whose recipient the router did not know: their own zone says, as soon as they are known."""

from schemas.messages import Message
from worker.errors import PermanentError
from worker.messages import open_body
from worker.people import Known
from worker.policy.hours import zone_for
from worker.routing.table import RoutingTable
from worker.sealing import Erased


def awaits_zone(message: Message, known: Known) -> bool:
    """Return whether *message* waits for a time that was reckoned in a zone which nobody has told yet."""
    return message.unresolved is not None and message.not_before is not None and known.contact is None


def timed(message: Message, known: Known, table: RoutingTable) -> Message:
    """
    Return *message* with the time that its recipient's zone gives it, where the router could not know that.

    Any number of times gives the same: its route's `at` is asked again, and its time to live stays as long.
    """
    contact, route = known.contact, table.by_id(message.route)
    if message.unresolved is None or message.not_before is None or contact is None or known.key is None:
        return message
    if route is None or route.at is None:
        return message
    try:
        body = open_body(message, known.key)
        zone = zone_for(body.phone or contact.phone, body.zone or contact.zone)
        at = route.not_before(message.event.time, body.data, zone)
    except (Erased, PermanentError):
        return message  # whoever opens it next says why
    if at is None or at == message.not_before:
        return message
    lives = message.expires_at - max(message.not_before, message.event.time)
    return message.model_copy(update={"not_before": at, "expires_at": max(at, message.event.time) + lives})
