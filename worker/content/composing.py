"""Compose: a template and a person's values become the text, as it will be sent and charged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.messages import Category
from worker.content.advertising import find_advertising
from worker.content.normalising import cheaper, normalise
from worker.content.rendering import compile_text, formatting_locale, render
from worker.content.segments import Segmentation, segment
from worker.content.templates import Template
from worker.errors import DeadLetterReason, PermanentError

DEFAULT_ZONE = "Europe/Paris"
NAMES = ("contact.first_name", "contact.last_name")  # Grace and Noël sell nothing


@dataclass(frozen=True, slots=True)
class Text:
    """
    What is sent.

    Attributes:
        body: The words; never logged.
        locale: The language it is in.
    """

    body: str
    sender: str
    locale: str
    segmentation: Segmentation


def values_of(template: Template, scope: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the template's variables, looked up in *scope* (`data`, `contact`, `event`).

    A value that is missing or null is replaced by its default, or left out.
    """
    values = {}
    for name, variable in template.variables.items():
        value: Any = scope
        for step in variable.path.split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
        if value is not None or variable.has_default:
            values[name] = variable.default if value is None else value
    return values


def compose(
    template: Template,
    values: Mapping[str, Any],
    *,
    locale: str | None,
    zone: str | None,
    stop: str,
    sender: str | None = None,
) -> Text:
    """
    Return the text of *template* for one person.

    Args:
        template: What to say.
        values: Its variables by name.
        locale: The person's language; the nearest there is a text for is taken.
        zone: The person's IANA time zone.
        stop: The account's STOP mention, which a marketing text must carry.
        sender: In the recipient's country, where it is another than the template's.

    Raises:
        PermanentError: A variable is missing, the text is too long, its STOP mention was lost, or it is transactional
            and advertises.
    """
    chosen = template.locale_for(locale)
    marketing = template.category is Category.MARKETING
    variables = {**values, "stop": stop} if marketing else values

    habits = formatting_locale(chosen, locale)

    def write(variables: Mapping[str, Any]) -> Text:
        body = render(compile_text(template.text[chosen]), variables, locale=habits, zone=zone or DEFAULT_ZONE)
        body = normalise(body, template.charset)
        return Text(body, sender or template.sender, chosen, segment(body))

    text = _fitted(template, write, variables)
    if marketing and stop not in text.body:
        raise PermanentError(
            DeadLetterReason.STOP_MISSING, "a marketing text must carry its STOP mention", field="text"
        )
    named = [str(values[name]) for name, its in template.variables.items() if its.path in NAMES and values.get(name)]
    if not marketing and (found := find_advertising(text.body, (*template.not_advertising, *named))):
        reasons = ", ".join(dict.fromkeys(one.reason for one in found))
        raise PermanentError(DeadLetterReason.ADVERTISING, f"a transactional text advertises: {reasons}", field="text")
    return text


def _shortened(
    template: Template, write: Callable[[Mapping[str, Any]], Text], variables: Mapping[str, Any]
) -> Text | None:
    name = template.shortened or ""
    value = variables.get(name)
    whole = value if isinstance(value, str) else ""
    for length in range(len(whole), -1, -1):
        text = write({**variables, name: whole[:length].rstrip()} if name in variables else variables)
        if text.segmentation.segments <= template.max_segments:
            return text
    return None


def _fitted(template: Template, write: Callable[[Mapping[str, Any]], Text], variables: Mapping[str, Any]) -> Text:
    """Return the text; where it is too long, without what its values alone cost, and the variable that may be cut, cut."""
    text = write(variables)
    if text.segmentation.segments <= template.max_segments or template.on_too_long == "allow":
        return text
    for its in cheaper(variables, template.charset):
        if (shorter := _shortened(template, write, its)) is not None:
            return shorter
    cut = text.segmentation
    message = f"{cut.segments} segments in {cut.encoding}; max_segments is {template.max_segments}"
    raise PermanentError(DeadLetterReason.TEXT_TOO_LONG, message, field="max_segments")
