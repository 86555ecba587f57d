"""What becomes of an event: the router's mind, without its hands. `sms-worker explain` asks it too."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from schemas.events import ControlData, Recipient
from schemas.events.consent import ConsentGranted, ConsentRevoked
from schemas.events.contact import ContactErased
from schemas.events.otp import OtpVerified
from schemas.messages import Message
from worker.errors import DeadLetterReason, Failure, PermanentError
from worker.messages import Addressee, about_of, address, make_message, sealed_data
from worker.people import NOBODY, Change, Known
from worker.policy.event_times import MAX_AHEAD
from worker.policy.hours import zone_told
from worker.policy.verdicts import Reason
from worker.records import Record
from worker.routing.decoding import decode
from worker.routing.events import BadEvent, Event, Unusable
from worker.routing.table import Route, RoutingTable
from worker.routing.timing import names_of
from worker.sealing import Pepper
from worker.settings import Intake, TopicSettings

Target = tuple[Route, Addressee]


@dataclass(frozen=True, slots=True)
class Read:
    """
    A record, decoded, with everybody whom its type's routes would address.

    Attributes:
        seen: What to remember of it, as it makes waiting messages pointless: keyed hash, and when it happened.
        verified: Who typed in their code, by keyed hash.
    """

    record: Record
    event: Event | Unusable
    targets: tuple[Target, ...] = ()
    seen: tuple[tuple[str, float], ...] = ()
    verified: tuple[str, ...] = ()

    def subjects(self) -> Iterable[str]:
        """Yield the keyed hash of each of them."""
        return (addressee.subject for _, addressee in self.targets)


@dataclass(frozen=True, slots=True)
class Routed:
    """It becomes these messages."""

    messages: list[Message]


@dataclass(frozen=True, slots=True)
class Projected:
    """It says who somebody is, or what they agreed to; its envelope, if the database should refuse it."""

    change: Change
    envelope: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unrouted:
    """It is known, and nobody is to be texted about it."""

    event: Event
    reason: Reason


@dataclass(frozen=True, slots=True)
class Ignored:
    """Its type is none of ours."""

    event_type: str = ""


@dataclass(frozen=True, slots=True)
class GivenUp:
    """
    It cannot be handled.

    Attributes:
        envelope: The event's id, source, type and traceparent, as far as they could be read.
        subject: Whose key seals it; None where nobody is known.
    """

    error: Failure
    envelope: Mapping[str, str] = field(default_factory=dict)
    subject: str | None = None


Decision = Routed | Projected | Unrouted | Ignored | GivenUp


class Deciding:
    """
    Decides what becomes of the events of one intake.

    Args:
        inputs: The intake's topics by name.
    """

    def __init__(
        self,
        intake: Intake,
        deployment: str,
        inputs: Mapping[str, TopicSettings],
        table: RoutingTable,
        pepper: Pepper,
    ) -> None:
        self._intake = intake
        self._deployment = deployment
        self._inputs = inputs
        self._table = table
        self._pepper = pepper

    def read(self, record: Record, now: datetime) -> Read:
        """Decode *record*, and name whom its event would address."""
        topic = self._inputs[record.topic]
        try:
            event = decode(record, topic, now)
        except BadEvent as error:
            return Read(record, Unusable(error.failure, error.envelope))
        except Exception as error:  # noqa: BLE001  bytes from outside: whatever they broke, the next record is fine
            internal = Failure(DeadLetterReason.INTERNAL_ERROR, f"{type(error).__name__} while decoding")
            return Read(record, Unusable(internal, {}))
        if event.data is None:
            return Read(record, event)
        if event.type not in topic.events:
            told = f"{event.type} came by {topic.name}, whose events in worker.yaml it is not among"
            return Read(record, Unusable(Failure(DeadLetterReason.WRONG_INTAKE, told, "type"), _envelope(event)))
        named: dict[Recipient, Addressee] = {}
        targets = tuple(
            (route, named.get(recipient) or named.setdefault(recipient, address(recipient, self._pepper)))
            for route in self._table.for_type(event.type)
            for recipient in route.addressees(event.data)
        )
        seen = names_of(self._table.remembered.get(event.type, ()), event.data, self._pepper)
        verified = event.data.addressees() if isinstance(event.data, OtpVerified) else ()
        return Read(
            record,
            event,
            targets,
            tuple((name, event.time.timestamp()) for name in seen),
            tuple(address(recipient, self._pepper).subject for recipient in verified),
        )

    def decide(self, read: Read, known: Mapping[str, Known]) -> Decision:
        """Return what becomes of an event, given who is *known*, with a key for everybody it addresses."""
        event = read.event
        if isinstance(event, Unusable):
            return GivenUp(event.failure, event.envelope)
        if event.data is None:
            return Ignored(event.type)
        if isinstance(event.data, ControlData):
            return self._control(event, event.data, read.record)
        if not read.targets:
            return Unrouted(event, Reason.NO_ROUTE)
        try:
            messages = self._messages(event, read, known)
        except PermanentError as error:
            return GivenUp(error.failure, _envelope(event), read.targets[0][1].subject)
        except Exception as error:  # noqa: BLE001  a mistake of ours must not stop every event behind this one
            internal = Failure(DeadLetterReason.INTERNAL_ERROR, f"{type(error).__name__} while routing")
            return GivenUp(internal, _envelope(event), read.targets[0][1].subject)
        return Routed(messages) if messages else Unrouted(event, Reason.NO_ROUTE_MATCHED)

    def _control(self, event: Event, data: ControlData, record: Record) -> Decision:
        if (error := self._unknown_purpose(data)) is not None:
            return GivenUp(error, _envelope(event))
        if self._intake is Intake.CONTROL:
            takes_away = isinstance(data, ConsentRevoked | ContactErased)
            # A clock that runs ahead must not let a yes overrule a no that came after it. A record that is older than
            # clocks differ says nothing of that: its own time is wrong.
            ahead = timedelta(0) < event.time - record.time <= MAX_AHEAD
            at = record.time if ahead and not takes_away else event.time
            content = f"{event.fingerprint} {event.own_time}"
            change = Change(data, at.timestamp(), event.id, record, event.source, content)
            return Projected(change, _envelope(event))
        message = f"{event.type} came through the intake {self._intake}; publish it to a topic of the intake control"
        return GivenUp(Failure(DeadLetterReason.WRONG_INTAKE, message), _envelope(event))

    def _unknown_purpose(self, data: ControlData) -> Failure | None:
        known = self._table.purposes
        if known is None or not isinstance(data, ConsentGranted | ConsentRevoked):
            return None
        place = next((n for n, purpose in enumerate(data.purposes) if purpose not in known), None)
        if place is None:
            return None
        told = f"is no purpose of policy.yaml, which has {', '.join(sorted(known))}"
        return Failure(DeadLetterReason.BAD_DATA, told, f"data.purposes.{place}")

    def _messages(self, event: Event, read: Read, known: Mapping[str, Known]) -> list[Message]:
        data, messages = sealed_data(event), []
        scope: dict[str, Any] = {
            "event": {"id": event.id, "source": event.source, "type": event.type, "time": event.time},
            "data": data,
        }
        about = about_of(event.data, self._pepper)
        for route, addressee in read.targets:
            who = known.get(addressee.subject, NOBODY)
            verdict = _matches(route, addressee, who, scope)
            if verdict is not False and who.key is not None:
                unresolved = (
                    None if verdict is True and not _needs_zone(route, addressee, who) else Reason.UNKNOWN_CONTACT
                )
                messages.append(
                    make_message(
                        self._deployment,
                        event,
                        route,
                        addressee,
                        who.key,
                        data,
                        self._pepper,
                        unresolved=unresolved,
                        contact=who.contact,
                        replays=read.record.replays,
                        about=about,
                    )
                )
        return messages


def _matches(route: Route, addressee: Addressee, who: Known, scope: Mapping[str, Any]) -> bool | None:
    """Return whether the route is for this recipient; None while the contact that decides it is unknown."""
    if route.condition is None:
        return True
    if route.condition.needs_contact and addressee.is_contact and who.contact is None:
        return None
    return route.matches(scope, who.contact.scope() if who.contact else None)


def _needs_zone(route: Route, addressee: Addressee, who: Known) -> bool:
    """Return whether the time at which the route's message goes depends on a contact that is unknown."""
    recipient = addressee.recipient
    known = zone_told(recipient.zone) or recipient.phone or who.contact
    return route.at is not None and addressee.is_contact and not known


def _envelope(event: Event) -> dict[str, str]:
    traced = {"traceparent": event.traceparent} if event.traceparent else {}
    return {"id": event.id, "source": event.source, "type": event.type, **traced}
