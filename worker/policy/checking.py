"""Checks and composition, in order: what becomes of a message as far as it can be said before the fence."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from schemas.messages import Category, Message
from worker.content.composing import Text, compose, values_of
from worker.content.templates import Template, Templates
from worker.errors import DeadLetterReason, PermanentError
from worker.messages import Body, open_body, person_of
from worker.people import NOBODY, Known
from worker.policy.expiry import check_expiry
from worker.policy.number import Number, check_number
from worker.policy.verdicts import Reason, Refuse, Send, Verdict, suppress
from worker.sealing import Erased, Pepper
from worker.settings import DeliveryMode, DeliverySettings


@dataclass(frozen=True, slots=True)
class Checked:
    """
    A message before the fence.

    Attributes:
        person: Keyed hash of the number, whose acts the fence looks up.
        text: None if refused.
    """

    verdict: Verdict
    person: str | None = None
    number: Number | None = None
    text: Text | None = None


class Checking:
    """
    Checks messages.

    Args:
        delivery: Who may be texted at all.
        stops: The STOP mention of each category's account.
    """

    def __init__(
        self,
        templates: Templates,
        pepper: Pepper,
        delivery: DeliverySettings,
        stops: dict[Category, str],
    ) -> None:
        self._templates = templates
        self._pepper = pepper
        self._delivery = delivery
        self._stops = stops

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

    def version(self, message: Message) -> str | None:
        """Return the hash of the template's content."""
        return self._templates.versions.get(message.template)

    def check(self, message: Message, known: Known, now: datetime) -> Checked:
        """
        Return the verdict on *message* and, if it may go, its text.

        Raises:
            PermanentError: It cannot be composed.
        """
        if isinstance(verdict := check_expiry(message.expires_at, now), Refuse):
            return Checked(verdict)
        if message.unresolved is not None:
            return Checked(suppress(Reason(message.unresolved)))
        if self.template(message).category is not message.category:
            told = f"the template is {self.template(message).category} by now, the message was made {message.category}"
            raise PermanentError(DeadLetterReason.CATEGORY_CHANGED, told, field="category")
        body = self._open(message, known)
        if isinstance(body, Refuse):
            return Checked(body)
        contact = known.contact
        if body.phone is None and contact is None:
            return Checked(suppress(Reason.UNKNOWN_CONTACT))
        written = body.phone or (contact.phone if contact else "")
        number, person = check_number(written, self._delivery.countries), person_of(written, self._pepper)
        if isinstance(number, Refuse):
            return Checked(number, person)
        if self._delivery.mode is DeliveryMode.ALLOW_LIST and number.e164 not in self._delivery.allow_list:
            return Checked(suppress(Reason.NOT_ON_ALLOW_LIST), person, number)
        return Checked(Send(), person, number, self._compose(message, body, known))

    def _open(self, message: Message, known: Known) -> Body | Refuse:
        if known.key is None:
            return suppress(Reason.ERASED)
        try:
            return open_body(message, known.key)
        except Erased:
            return suppress(Reason.ERASED)

    def _compose(self, message: Message, body: Body, known: Known) -> Text:
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
            zone=body.zone or (contact.zone if contact else None),
            stop=self._stops[template.category],
        )
