"""What was sent to somebody or not, and why: read from the outcomes, and told in words."""

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from worker.auditing import audit_record
from worker.kafka.scanning import scan
from worker.messages import about, person_of
from worker.policy.told import tell
from worker.records import Place
from worker.servers import KafkaSettings
from worker.state.persons import Persons
from worker.tools import Tools


@dataclass
class FoundMessage:
    """
    A message, or an event that became none, with all that came of it in order.

    Attributes:
        name: The message's id, or the event's.
        steps: Time, French, English.
    """

    name: str
    event: dict[str, Any]
    route: str | None = None
    template: str | None = None
    provider_ref: str | None = None
    steps: list[tuple[str, str, str]] = field(default_factory=list)


async def find_messages(
    settings: KafkaSettings,
    outcomes: str,
    since: datetime,
    subjects: Collection[str] = (),
    event_id: str | None = None,
    message_id: str | None = None,
    its_about: str | None = None,
) -> list[FoundMessage]:
    """
    Return what came of messages to *subjects*, of an event, or of one message, since some time, oldest first.

    Args:
        settings: Where Kafka is.
        outcomes: The results topic.
        since: Nothing earlier is read; the topic keeps 30 days.
        subjects: Keyed hashes of references to one person.
        event_id: Of the domain event.
        message_id: As outcomes and logs name it.
        its_about: Keyed hash of an order's, appointment's or cart's number.

    Raises:
        BrokerUnavailable: Kafka does not answer to the end.
    """
    found: dict[str, FoundMessage] = {}
    async for time, told in _outcomes(settings, outcomes, since):
        theirs = told.get("recipient") in subjects or told["event"]["id"] == event_id
        named = (message_id and told.get("message_id") == message_id) or (its_about and told.get("about") == its_about)
        if not (theirs or named):
            continue
        name = told.get("message_id") or told["event"]["id"]
        its = found.setdefault(name, FoundMessage(name, told["event"], told.get("route"), told.get("template")))
        its.provider_ref = told.get("provider_ref") or its.provider_ref
        step = (time, *tell(told["outcome"], told.get("reason")))
        if step[1:] not in [one[1:] for one in its.steps] or told["outcome"] == "deferred":
            its.steps.append(step)
    return sorted(found.values(), key=lambda one: one.steps[0][0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """
    Whose messages, or which, are looked for; one of them is given.

    Attributes:
        phone: In E.164.
        order: The number of an order, an appointment or a cart.
    """

    phone: str | None = None
    contact: str | None = None
    event_id: str | None = None
    order: str | None = None
    message_id: str | None = None


async def find(tools: Tools, asked: Asked, since: datetime) -> list[FoundMessage]:
    """
    Return what came of the messages that are asked for, and write down that somebody looked.

    Raises:
        BrokerUnavailable: Kafka does not answer to the end.
        StateUnavailable: The database does not answer.
    """
    subjects: list[str] = []
    if asked.phone is not None:
        subjects = await Persons(tools.database, tools.people).subjects(person_of(asked.phone, tools.pepper))
    elif asked.contact is not None:
        subjects = [tools.pepper.name("contact", asked.contact)]
    its = about(asked.order, tools.pepper) if asked.order is not None else None
    told = {"subject": subjects[0] if subjects else None, "event_id": asked.event_id, "message_id": asked.message_id}
    await tools.sink.publish(audit_record(tools.topics, "find", since=since, about=its, **told))
    settings = tools.configuration.settings.kafka
    return await find_messages(settings, tools.topics.outcomes, since, subjects, asked.event_id, asked.message_id, its)


async def find_places(settings: KafkaSettings, outcomes: str, since: datetime, message_id: str) -> list[Place]:
    """
    Return where a message stood on its lanes, by its outcomes since some time, the latest first.

    Raises:
        BrokerUnavailable: Kafka does not answer to the end.
    """
    told = [told async for _, told in _outcomes(settings, outcomes, since) if told.get("message_id") == message_id]
    return [Place(**its["origin"]) for its in reversed(told) if its.get("origin")]


async def _outcomes(settings: KafkaSettings, topic: str, since: datetime) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    async for record in scan(settings, [topic], since):
        envelope = orjson.loads(record.value or b"{}")
        if "event" in envelope.get("data", {}):
            yield envelope["time"], envelope["data"]
