"""What an event would become, step by step, with the real code on made-up state."""

import sys
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from schemas.contract import Contract
from schemas.events import EVENTS
from schemas.events.contact import ContactUpdated
from schemas.messages import Message
from worker.answers.sources import Sources
from worker.answers.steps import ExplainedMessage, Fence, Step, explain_message, place_of
from worker.errors import ConfigurationError, Problem
from worker.people import Contact, Known
from worker.policy.checking import Checked, Checking
from worker.policy.consent import Act, DatedAct, check_consent
from worker.policy.number import Number, parse_number
from worker.policy.verdicts import Refuse, Send, Verdict
from worker.records import Record
from worker.routing.deciding import Deciding, Decision, GivenUp, Ignored, Projected, Read, Routed, Unrouted
from worker.routing.decoding import first_error
from worker.routing.events import Unusable
from worker.routing.loading import Configuration
from worker.routing.table import nearest
from worker.sealing import KeyRing, Pepper
from worker.settings import Intake, TopicSettings

TOPIC = "explained"


@dataclass(frozen=True)
class Explanation:
    """What the event would become: `routed`, `unrouted`, `ignored`, `projected` or `dead_lettered`."""

    event_type: str | None
    became: str
    why: str | None = None
    messages: list[ExplainedMessage] = field(default_factory=list)
    not_matched: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain containers."""
        return asdict(self)


def read_event_file(path: Path) -> bytes:
    """
    Return the file's bytes.

    Raises:
        ConfigurationError: There is no such file.
    """
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise ConfigurationError([Problem(str(path), None, "", f"cannot be read: {error.strerror}")]) from error


def read_contact_file(path: Path) -> ContactUpdated:
    """
    Return the contact in a file.

    Raises:
        ConfigurationError: It is no payload of a `contact.updated`.
    """
    try:
        return ContactUpdated.model_validate_json(read_event_file(path))
    except ValidationError as error:
        place, message = first_error(error)
        raise ConfigurationError([Problem(str(path), None, place, f"as a contact.updated: {message}")]) from error


def explain_event(
    configuration: Configuration, event: bytes, *, contact: ContactUpdated | None, consents: frozenset[str]
) -> Explanation:
    """Return what the CloudEvent in *event* would become, if *contact* were its recipient and had given *consents*."""
    settings, now = configuration.settings, datetime.now(UTC)
    # Message ids are shown as the worker would make them only with its own pepper; here they tell messages apart.
    pepper, ring = Pepper(b"explained without state"), KeyRing({"explain": bytes(32)}, "explain")
    topic = TopicSettings(name=TOPIC, start="earliest", events=tuple(EVENTS))
    headers = (("content-type", b"application/cloudevents+json"),)
    record = Record(TOPIC, 0, 0, int(time.time() * 1000), None, event, headers)
    intake = _intake_of(configuration, event)
    deciding = Deciding(intake, settings.deployment, {TOPIC: topic}, configuration.table, pepper)
    read = deciding.read(record, now)
    card = _contact(contact, pepper)
    known = {subject: Known(ring.new_key(subject)[0], card) for subject in read.subjects()}
    decision = deciding.decide(read, known)
    explained: list[ExplainedMessage] = []
    if isinstance(decision, Routed):
        checks, sources = Checking.of(configuration, pepper), Sources(configuration)
        says = _agreeing(consents, configuration, now)
        explained = [
            explain_message(message, known[message.recipient], checks, sources, now, says)
            for message in decision.messages
        ]
    return explain_decision(configuration, read, decision, explained)


def explain_decision(
    configuration: Configuration, read: Read, decision: Decision, messages: list[ExplainedMessage]
) -> Explanation:
    """Return what became of an event, with its messages explained already."""
    event_type = None if isinstance(read.event, Unusable) else read.event.type
    match decision:
        case GivenUp(error):
            return Explanation(event_type, "dead_lettered", place_of(error))
        case Ignored():
            return Explanation(event_type, "ignored", f"no such event type; {nearest(event_type or '', EVENTS)}")
        case Projected():
            return Explanation(event_type, "projected", "contacts and consents are kept, and nobody is texted")
        case Unrouted(_, reason):
            return Explanation(event_type, "unrouted", reason, not_matched=_not_matched(configuration, event_type, ()))
        case Routed():
            matched = {message.route for message in messages}
            return Explanation(event_type, "routed", None, messages, _not_matched(configuration, event_type, matched))


def _agreeing(consents: frozenset[str], configuration: Configuration, now: datetime) -> Fence:
    """Return a fence that knows nothing but that somebody gave *consents*."""

    def says(message: Message, checked: Checked) -> tuple[Verdict, list[Step]]:
        purpose = configuration.templates.by_id[message.template].purpose
        if purpose is None:
            return Send(), []
        acts = [DatedAct(Act.GRANTED, given, now.timestamp()) for given in consents]
        verdict = check_consent(acts, (), purpose, is_customer=checked.is_customer)
        answer = "no" if isinstance(verdict, Refuse) else "yes"
        return verdict, [Step("consent", f"for {purpose}", answer, "--consent")]

    return says


def _contact(data: ContactUpdated | None, pepper: Pepper) -> Contact | None:
    if data is None:
        return None
    number = parse_number(data.phone)
    country = number.country if isinstance(number, Number) else None
    fields = data.model_dump(mode="json", include={"phone", "first_name", "last_name", "locale", "zone", "attributes"})
    return Contact(person=pepper.name("phone", data.phone), country=country, **fields)


def _intake_of(configuration: Configuration, event: bytes) -> Intake:
    """Return the intake whose topics list this event's type; `normal` if none does."""

    class _Typed(Contract):
        type: str = ""

    try:
        event_type = _Typed.model_validate_json(event).type
    except ValueError:
        return Intake.NORMAL
    feeds = (
        i for i, its in configuration.settings.intakes.items() for topic in its.topics if event_type in topic.events
    )
    return next(feeds, Intake.NORMAL)


def _not_matched(
    configuration: Configuration,
    event_type: str | None,
    matched: "frozenset[str] | set[str] | tuple[str, ...]",
) -> list[str]:
    routes = configuration.table.for_type(event_type or "")
    return [
        f"route {route.row.id}: {route.row.when or route.row.to}" for route in routes if route.row.id not in matched
    ]
