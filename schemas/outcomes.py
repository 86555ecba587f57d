"""The results topic: one CloudEvent per outcome of a message, and of events that became none."""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from schemas.cloudevents import OutcomeEnvelope
from schemas.contract import Contract, Time
from schemas.messages import Category, Lane


class OutcomeKind(StrEnum):
    """What came of a message: six ends and two steps (`deferred`, `dead_lettered`); `unrouted` of an event."""

    ACCEPTED = "accepted"
    SUPPRESSED = "suppressed"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    DEFERRED = "deferred"
    DEAD_LETTERED = "dead_lettered"
    UNROUTED = "unrouted"


class OutcomeEvent(Contract):
    """The event that an outcome answers to."""

    id: str
    source: str
    type: str
    time: Time | None = None


class OutcomeOrigin(Contract):
    """A record: of a lane, that an outcome came of; or of the control intake, that allowed it."""

    topic: str
    partition: int
    offset: int


class OutcomeData(Contract):
    """
    What came of a message, without number or text.

    Attributes:
        reason: A code from a closed list, where the outcome is not `accepted`.
        recipient: Keyed hash, the same for every outcome of one person under one reference.
        about: Keyed hash of the order, appointment or cart that it is about.
        country: ISO 3166 of the number, where it is known.
        template_version: Hash of the template's content.
        policy_version: Hash of policy.yaml's content.
        check: Which check decided, where the outcome is not `accepted`.
        consent: The record of the consent that allowed a marketing text.
        basis: Why marketing was allowed: the person's consent, or that they are a customer who did not object.
        provider_ref: The provider's ticket; its delivery reports name it.
        cost: What the provider says it charged, in *currency*.
        submitted_at: When the provider's answer arrived.
        deferred_until: When a `deferred` message is looked at again, at the earliest.
        step: How often it had been deferred before.
        origin: The lane's record, from which the message can be had again.
    """

    outcome: OutcomeKind
    reason: str | None = None
    message_id: str | None = None
    event: OutcomeEvent
    route: str | None = None
    template: str | None = None
    template_version: str | None = None
    policy_version: str | None = None
    check: str | None = None
    consent: OutcomeOrigin | None = None
    basis: Literal["consent", "existing_customer"] | None = None
    campaign: str | None = None
    category: Category | None = None
    lane: Lane | None = None
    recipient: str | None = None
    about: str | None = None
    country: str | None = None
    provider: str | None = None
    account: str | None = None
    provider_ref: str | None = None
    encoding: Literal["GSM-7", "UCS-2"] | None = None
    segments: int | None = None
    cost: float | None = None
    currency: str | None = None
    expires_at: Time | None = None
    submitted_at: Time | None = None
    deferred_until: Time | None = None
    step: int | None = None
    origin: OutcomeOrigin | None = None


class Outcome(OutcomeEnvelope):
    """A record of `sms.outcomes`: a CloudEvent whose type is `sms.` and the outcome's name."""

    data: OutcomeData = Field()
