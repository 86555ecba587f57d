"""When a message may go, where the router could not say: it waits for whom it is for, and their own zone tells."""

from datetime import datetime, timedelta

from schemas.messages import Message
from worker.errors import PermanentError
from worker.messages import open_body
from worker.people import Known
from worker.policy.hours import zone_for
from worker.policy.verdicts import Defer, Reason
from worker.routing.table import RoutingTable
from worker.sealing import Erased

FIRST_WAIT_S = 2.0


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
        zone = zone_for(body.phone or contact.phone, body.zone, contact.zone)
        at = route.not_before(message.event.time, body.data, zone)
    except (Erased, PermanentError):
        return message  # whoever opens it next says why
    if at is None or at == message.not_before:
        return message
    lives = message.expires_at - max(message.not_before, message.event.time)
    return message.model_copy(update={"not_before": at, "expires_at": max(at, message.event.time) + lives})


def wait_for(message: Message, now: datetime, reason: Reason, patience_s: float) -> Defer | None:
    """Return to wait as long again as it has waited for *reason*; None if *patience_s* is over."""
    since = message.waiting_since if message.waiting_for == reason and message.waiting_since else now
    waited_s = max(0.0, (now - since).total_seconds())  # the database's clock may have been set back
    if waited_s >= patience_s:
        return None
    more_s = min(max(FIRST_WAIT_S, waited_s), patience_s - waited_s)
    return Defer(min(now + timedelta(seconds=more_s), message.expires_at), reason)
