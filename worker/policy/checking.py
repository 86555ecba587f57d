"""Checks and composition, in order: what becomes of a message as far as it can be said before the fence."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from schemas.messages import Category, Message
from worker.content.composing import Text, compose, values_of
from worker.content.templates import Template, Templates
from worker.delivery.accounts import Accounts
from worker.delivery.cancelling import scopes_of
from worker.delivery.limits import Limits
from worker.errors import DeadLetterReason, PermanentError
from worker.messages import Body, open_body, person_of
from worker.people import NOBODY, Contact, Known
from worker.policy.budget import Budget
from worker.policy.expiry import check_expiry
from worker.policy.guard import Watched
from worker.policy.hours import Hours, check_hours, zone_for, zone_told
from worker.policy.limiting import budgets_of, caps_for, scope_of
from worker.policy.number import Number, check_number
from worker.policy.rules import Policy
from worker.policy.timing import awaits_zone, timed, wait_for
from worker.policy.verdicts import Defer, Reason, Refuse, Send, Verdict, suppress
from worker.routing.loading import Configuration
from worker.routing.table import RoutingTable
from worker.sealing import Erased, Pepper
from worker.settings import DeliveryMode, DeliverySettings, WaitingSettings

HELD_FOR = timedelta(hours=1)  # or until it is released
ANY_TIME = Hours(Send())


# Hears a check's name, what it looked at, and what it said.
Tell = Callable[[str, Any, Any], object]


def _silent(check: str, found: Any, said: Any) -> None:
    del check, found, said


@dataclass(frozen=True, slots=True)
class Checked:
    """
    A message before the fence.

    Attributes:
        person: Keyed hash of the number, whose acts the fence looks up.
        text: None if refused.
        hours: Until when a marketing text may go.
        is_customer: Marketing of similar products needs no opt-in of them.
    """

    verdict: Verdict
    person: str | None = None
    number: Number | None = None
    text: Text | None = None
    hours: Hours = ANY_TIME
    is_customer: bool = False


class Checking:
    """
    Checks messages.

    Args:
        table: Routes, for those whose condition could not be decided yet.
        delivery: Who may be texted at all.
        waiting: How long what is unknown is waited for.
        accounts: For STOP mentions and prices.
        policy: Hours, caps, the guard, budgets.
        holds: Whether a template holds, after a flood of dead letters.
        is_paused: Whether an operator paused a route.
    """

    def __init__(
        self,
        templates: Templates,
        table: RoutingTable,
        pepper: Pepper,
        delivery: DeliverySettings,
        waiting: WaitingSettings,
        accounts: Accounts,
        policy: Policy,
        holds: Callable[[str], bool] = lambda _: False,
        is_paused: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._templates = templates
        self._table = table
        self._waiting = waiting
        self._holds = holds
        self._is_paused = is_paused
        self._pepper = pepper
        self._delivery = delivery
        self._accounts = accounts
        self._stops = accounts.stop_mentions()
        self._hours = policy.hours
        self._caps = policy.caps
        self._customers = policy.existing_customers
        self._guard = policy.guard
        self._budgets = budgets_of(policy, accounts)
        self.policy_version = policy.version
        self.budgets = tuple(self._budgets.values())

    @classmethod
    def of(
        cls,
        configuration: Configuration,
        pepper: Pepper,
        holds: Callable[[str], bool] = lambda _: False,
        is_paused: Callable[[str], bool] = lambda _: False,
    ) -> "Checking":
        """Return the checks that *configuration* asks for."""
        its, settings = configuration, configuration.settings
        delivery, waiting = settings.delivery, settings.waiting
        return cls(its.templates, its.table, pepper, delivery, waiting, its.accounts, its.policy, holds, is_paused)

    def template(self, message: Message) -> Template:
        """
        Return the message's template, as it is today.

        Raises:
            PermanentError: There is none.
        """
        template = self._templates.by_id.get(message.template)
        if template is None:
            raise PermanentError(
                DeadLetterReason.UNKNOWN_TEMPLATE,
                f"there is no template {message.template!r}",
                field="template",
            )
        return template

    def resends(self, message: Message) -> bool:
        """Return whether the message is sent again where nobody can say whether it was sent."""
        template = self._templates.by_id.get(message.template)
        return template is not None and template.on_unknown == "resend"

    def version(self, message: Message) -> str | None:
        """Return the hash of the template's content."""
        return self._templates.versions.get(message.template)

    def check(self, message: Message, known: Known, now: datetime, tell: Tell = _silent) -> Checked:
        """
        Return the verdict on *message* and, if it may go, its text.

        Args:
            message: As its lane's record has it.
            known: Its recipient, and their key.
            now: By the database's clock.
            tell: Hears each check's name, what it looked at, and what it said.

        Raises:
            PermanentError: It cannot be composed.
        """
        message = timed(message, known, self._table)
        tell("expiry", message.expires_at, verdict := check_expiry(message.expires_at, now))
        if isinstance(verdict, Refuse):
            return Checked(verdict)
        tell("timing", message.not_before, wait := self._not_yet(message, known, now))
        if wait is not None:
            return Checked(wait)
        if self.template(message).category is not message.category:
            told = f"the template is {self.template(message).category} by now, the message was made {message.category}"
            raise PermanentError(DeadLetterReason.CATEGORY_CHANGED, told, field="category")
        tell("key", message.recipient, body := self._open(message, known))
        if isinstance(body, Refuse):
            return Checked(body)
        contact = known.contact
        tell("contact", message.contact, contact)
        if contact is None and (body.phone is None or message.unresolved is not None):
            patience_s = self._waiting.unknown_contact_s
            return Checked(
                wait_for(message, now, Reason.UNKNOWN_CONTACT, patience_s) or suppress(Reason.UNKNOWN_CONTACT)
            )
        if contact is not None and message.unresolved is not None and not self._matches(message, body, contact):
            tell("route", message.route, refused := suppress(Reason.NO_ROUTE_MATCHED))
            return Checked(refused)
        written = body.phone or (contact.phone if contact else "")
        number, person = check_number(written, self._delivery.countries), person_of(written, self._pepper)
        tell("number", self._delivery.countries, number)
        if isinstance(number, Refuse):
            return Checked(number, person)
        if self._delivery.mode is DeliveryMode.ALLOW_LIST and number.e164 not in self._delivery.allow_list:
            tell("delivery", self._delivery.mode, refused := suppress(Reason.NOT_ON_ALLOW_LIST))
            return Checked(refused, person, number)
        hours = self._open_hours(message, body, known, number, now)
        tell("hours", number.country, hours)
        if not isinstance(hours.verdict, Send):
            return Checked(hours.verdict, person, number)
        tell("text", message.template, text := self._compose(message, body, known, number))
        return Checked(Send(), person, number, text, hours, is_customer=self._is_customer(message, contact))

    def _is_customer(self, message: Message, contact: Contact | None) -> bool:
        template = self.template(message)
        if self._customers is None or contact is None or not template.similar_products:
            return False
        return self._customers.holds(template.purpose, contact.attributes)

    def _open_hours(self, message: Message, body: Body, known: Known, number: Number, now: datetime) -> Hours:
        if message.category is not Category.MARKETING:
            return Hours(Send())
        contact, drop = known.contact, self.template(message).when_closed == "drop"
        zone = zone_told(body.zone, contact.zone if contact else None)
        attributes = contact.attributes if contact else {}
        return check_hours(self._hours, number, zone, attributes, now, message.expires_at, message.id, drop=drop)

    def limits(self, message: Message, checked: Checked) -> Limits:
        """Return what the fence holds against *message*, beside consent."""
        cancelled_by = scopes_of({"campaign": message.campaign, "route": message.route, "id": message.id})
        if checked.text is None:
            return Limits(cancelled_by=cancelled_by)
        closes_at, template = checked.hours.closes_at, self.template(message)
        return Limits(
            cancelled_by=cancelled_by,
            closes_at=closes_at.timestamp() if closes_at else None,
            afterwards=checked.hours.afterwards,
            scope=scope_of(template, message),
            caps=caps_for(template, message, self._caps),
            is_customer=checked.is_customer,
            watched=self._watched(template, checked),
            cost=self.cost(message, checked),
            defers_over_cap=template.on_cap == "defer",
        )

    def budget(self, message: Message) -> Budget | None:
        """Return what *message* is paid from; None if nobody keeps a budget."""
        return self._budgets.get(message.category)

    def cost(self, message: Message, checked: Checked) -> float | None:
        """Return what *message* would cost, in its account's currency; None where nobody has said a price."""
        if checked.text is None or checked.number is None:
            return None
        price = self._accounts.of(message.category)[1].price(checked.number.country)
        return None if price is None else price * checked.text.segmentation.segments

    def _watched(self, template: Template, checked: Checked) -> Watched | None:
        if not template.guard or checked.number is None or checked.text is None:
            return None
        alike = checked.number.e164[: -self._guard.neighbour_digits]
        price = self._accounts.of(template.category)[1].price(checked.number.country) or 0.0
        cost = price * checked.text.segmentation.segments
        return Watched(self._guard, self._pepper.name("block", alike), checked.number.country, cost)

    def timed(self, message: Message, known: Known) -> Message:
        """Return *message* with the time that its recipient's own zone gives it, if the router could not know that."""
        return timed(message, known, self._table)

    def _not_yet(self, message: Message, known: Known, now: datetime) -> Defer | None:
        if message.not_before is not None and now < message.not_before:
            if awaits_zone(message, known):
                wait = wait_for(message, now, Reason.UNKNOWN_CONTACT, self._waiting.unknown_contact_s)
                return wait or Defer(message.not_before, Reason.DELAYED)
            return Defer(message.not_before, Reason.DELAYED)
        for holds, reason in (
            (self._is_paused(message.route), Reason.PAUSED),
            (self._holds(message.template), Reason.FLOOD),
        ):
            if holds:
                return Defer(min(now + HELD_FOR, message.expires_at), reason)
        if message.template in self._templates.by_id:
            return None
        # A process of the next version may have routed it: this one, or its successor, will know the template soon.
        return wait_for(message, now, Reason.UNKNOWN_TEMPLATE, self._waiting.unknown_template_s)

    def _matches(self, message: Message, body: Body, contact: Contact) -> bool:
        """Decide the route's condition, which the router could not."""
        route, event = self._table.by_id(message.route), message.event
        told = {"id": event.id, "source": event.source, "type": event.type, "time": event.time}
        return route is not None and route.matches({"data": body.data, "event": told}, contact.scope())

    def _open(self, message: Message, known: Known) -> Body | Refuse:
        if known.key is None:
            return suppress(Reason.ERASED)
        try:
            return open_body(message, known.key)
        except Erased:
            return suppress(Reason.ERASED)

    def _compose(self, message: Message, body: Body, known: Known, number: Number) -> Text:
        template, contact = self.template(message), known.contact or NOBODY.contact
        scope: dict[str, Any] = {
            "data": body.data,
            "contact": contact.scope() if contact else {},
            "event": {
                "id": message.event.id,
                "type": message.event.type,
                "time": message.event.time.isoformat(),
            },
        }
        return compose(
            template,
            values_of(template, scope),
            locale=body.locale or (contact.locale if contact else None),
            zone=zone_for(number.e164, body.zone, contact.zone if contact else None).key,
            stop=self._stops[template.category],
            sender=self._accounts.of(template.category)[1].senders.get(number.country),
        )
