"""Templates: what is said, in which language, and under which rules."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from schemas.events.consent import Purpose
from schemas.messages import Category, Lane
from worker.config_files import Config, Duration, YamlFile, load_yaml
from worker.content.normalising import Charset
from worker.content.rendering import compile_text
from worker.errors import ConfigurationError, Problem

# af2m, Charte Business Messaging 2026: the trade name or a brand of the advertiser, and nothing that anybody could be.
GENERIC = frozenset(
    {"ALERT", "ALERTE", "CODE", "INFO", "INFOS", "MESSAGE", "NOTICE", "OTP", "PROMO", "PROMOS", "SMS", "VERIFY"}
)


# Octopush: 3 to 11 of A-Z a-z 0-9; at least one letter, as operators drop all-digit names (af2m charter 2026), and as
# Octopush sends from no number of one's own: 06 and 07 are forbidden to automata in France (ARCEP 2022-1583).
def _sender_name(name: str) -> str:
    if name.upper() in GENERIC:
        raise ValueError(f"found {name!r}, which could be anybody's; a sender is the trade name, or a brand")
    if not re.fullmatch(r"[A-Za-z0-9]{3,11}", name) or name.isdecimal():
        raise ValueError("a sender is 3 to 11 letters and digits, at least one of them a letter")
    return name


SenderName = Annotated[str, AfterValidator(_sender_name)]
VariablePath = Annotated[str, Field(pattern=r"^(data|contact|event)(\.[a-zA-Z_]\w*)+$")]
MAX_SOURCE_CHARACTERS = 2_000


class Variable(Config):
    """
    A variable of a template.

    Attributes:
        path: Where its value is: `data.order_id`, `contact.first_name`, `event.time`.
        default: Taken where the value is missing; without it, a missing value is a dead letter.
        sample: For `preview`, `send-test` and checks.
        longest: The most characters that emitters promise; without it, the event's model says. `check` counts with it.
    """

    path: VariablePath
    default: str | int | float | None = None
    has_default: bool = Field(default=False, exclude=True)
    sample: str | int | float | None = None
    longest: int | None = Field(default=None, ge=1, le=200)

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        if isinstance(value, str):
            return {"path": value}
        return {**value, "has_default": "default" in value} if isinstance(value, Mapping) else value


class Template(Config):
    """
    A template file.

    Attributes:
        category: Why we may text; marketing has its own lane, account and rules.
        lane: How long it may wait; `urgent` is for codes and alerts.
        sender: 3 to 11 letters and digits, at least one a letter.
        charset: What becomes of characters that GSM-7 lacks.
        max_segments: A longer text is a dead letter, and refused by `check` if it cannot be shorter.
        purpose: What consent a marketing text needs.
        time_to_live: From the event's time; a later message is `expired`, never sent.
        when_closed: What comes outside the hours of marketing: `defer` it to the next opening, or `drop` it.
        on_cap: What would be one text too many: `suppress` it, or `defer` it until it may go.
        on_unknown: Where nobody can say whether it was sent: `leave` it, or `resend` it and risk two texts.
        on_too_long: What becomes of a text of more segments than max_segments: `refuse`, `allow`, or `shorten first_name`,
            which cuts that variable, to nothing if need be.
        similar_products: A marketing text about products like those the person bought: where policy.yaml has
            `existing_customers`, customers who did not object get it without an opt-in.
        guard: The abuse guard watches it (`policy.yaml`, `guard`): for login codes.
        not_advertising: Phrases of a transactional text that somebody vouches for; they are never taken for advertising.
        variables: What the text names, and where its value is.
        text: By locale; the first is the fallback for a language that none is for.
    """

    category: Category
    lane: Lane
    purpose: Purpose | None = None
    sender: SenderName
    time_to_live: Annotated[Duration, Field(le=timedelta(days=60))]
    charset: Charset = Charset.TRANSLITERATE
    max_segments: int = Field(default=1, ge=1, le=8)
    when_closed: Literal["defer", "drop"] = "defer"
    on_cap: Literal["suppress", "defer"] = "suppress"
    on_unknown: Literal["leave", "resend"] = "leave"
    on_too_long: Annotated[str, Field(pattern=r"^(refuse|allow|shorten [a-zA-Z_]\w*)$")] = "refuse"
    similar_products: bool = False
    guard: bool = False
    not_advertising: tuple[Annotated[str, Field(min_length=3, max_length=80)], ...] = Field(default=(), max_length=20)
    variables: dict[str, Variable] = Field(default_factory=dict)
    text: dict[str, Annotated[str, Field(min_length=1, max_length=MAX_SOURCE_CHARACTERS)]] = Field(min_length=1)

    @model_validator(mode="after")
    def _category_decides(self) -> Self:
        marketing = self.category is Category.MARKETING
        if marketing != (self.lane is Lane.MARKETING):
            raise ValueError(f"lane: a {self.category} template cannot use the lane {self.lane}")
        if marketing and self.purpose is None:
            raise ValueError("purpose: marketing needs one of those in policy.yaml: offers")
        if not marketing and self.purpose is not None:
            raise ValueError("purpose: only marketing has one; a transactional text needs no opt-in")
        if self.shortened is not None and self.shortened not in self.variables:
            raise ValueError(f"on_too_long: shortens {self.shortened!r}, which is not among the variables")
        if not marketing and self.similar_products:
            raise ValueError("similar_products: is for marketing; a transactional text needs no exception")
        if marketing and self.guard:
            raise ValueError("guard: is for codes; marketing has its caps")
        if marketing and self.not_advertising:
            raise ValueError(
                "not_advertising: marketing advertises; only a transactional template has phrases to vouch for"
            )
        if marketing and self.on_unknown == "resend":
            raise ValueError("on_unknown: an offer is never worth a second text; leave it")
        return self

    @property
    def shortened(self) -> str | None:
        """The variable that is cut where the text is too long."""
        return self.on_too_long.removeprefix("shorten ") if self.on_too_long.startswith("shorten ") else None

    def locale_for(self, wanted: str | None) -> str:
        """Return the nearest locale there is a text for: `fr-CA`, else `fr`, else the first."""
        tag = (wanted or "").replace("_", "-")
        for candidate in (tag, tag.split("-")[0].lower()):
            if candidate in self.text:
                return candidate
        return next(iter(self.text))


@dataclass(frozen=True, slots=True)
class Templates:
    """
    Every template by id, which is its file's name.

    Attributes:
        versions: Hash of each template's content, for outcomes.
        files: Where each stands, for messages.
    """

    by_id: Mapping[str, Template]
    versions: Mapping[str, str]
    files: Mapping[str, YamlFile] = field(default_factory=dict)


def load_templates(folder: Path) -> Templates:
    """
    Read every `*.yaml` in *folder*.

    Raises:
        ConfigurationError: With every mistake of every file.
    """
    files = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    problems: list[Problem] = [] if files else [Problem(str(folder), None, "", "holds no template (*.yaml)")]
    by_id, versions, read = {}, {}, {}
    for name, path in files.items():
        try:
            read[name] = load_yaml(path)
            by_id[name] = read[name].parse(Template)
            problems += _text_problems(by_id[name], read[name])
            versions[name] = sha256(by_id[name].model_dump_json().encode()).hexdigest()[:12]
        except ConfigurationError as error:
            problems += error.problems
    if problems:
        raise ConfigurationError(problems)
    return Templates(by_id, versions, read)


def _text_problems(template: Template, file: YamlFile) -> list[Problem]:
    """Find syntax errors and variables that are used and not declared, or declared and not used."""
    problems, used = [], set[str]()
    known = {*template.variables, "stop"} if template.category is Category.MARKETING else set(template.variables)
    for locale, source in template.text.items():
        place = ("text", locale)
        try:
            names = compile_text(source).variables
        except ValueError as error:
            problems.append(file.problem(place, str(error)))
            continue
        used |= names
        problems += [
            file.problem(place, f"uses {name!r}; declared under variables: {', '.join(sorted(known)) or 'none'}")
            for name in sorted(names - known)
        ]
    if not problems:
        problems += [
            file.problem(("variables", name), "is never used") for name in template.variables if name not in used
        ]
    return problems
