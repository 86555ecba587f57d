"""
Fill a text's variables in: Jinja syntax by minijinja, strict about what is missing, bounded in work and in length.

Filters: `money` (49,90 €), `date` (lundi 3 mars), `time` (14:30 in the recipient's zone), and `plural`, which chooses a
number's form (`{{ n | plural("article", "articles") }}`): by Babel, in the recipient's locale where that is of the text's
language.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Any, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import babel.dates
import babel.numbers
from babel.core import Locale, UnknownLocaleError
from minijinja import Environment, TemplateError, pass_state

from worker.errors import DeadLetterReason, PermanentError

FUEL = 20_000  # minijinja instructions; the longest shipped template takes under 200
MAX_CHARACTERS = 1_224  # 8 GSM-7 segments, the most that a provider takes (Octopush, send)
MAX_VALUE_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class CompiledText:
    """A text whose syntax is right, and the variables it names."""

    source: str
    variables: frozenset[str]


def _environment() -> Environment:
    environment = Environment(undefined_behavior="strict", fuel=FUEL, auto_escape_callback=lambda _: False)
    for name, filter_ in (
        ("money", _money),
        ("date", _date),
        ("time", _time),
        ("plural", pass_state(cast("Any", _plural))),
    ):
        environment.add_filter(name, filter_)
    return environment


@pass_state
def _money(state: Any, value: Mapping[str, Any]) -> str:
    text: str = babel.numbers.format_currency(
        value["amount"], value.get("currency", "EUR"), locale=state.lookup("_locale")
    )
    return text


@pass_state
def _date(state: Any, value: str) -> str:
    if len(value) <= len("2026-11-23"):
        moment: date = date.fromisoformat(value)
    else:
        moment = datetime.fromisoformat(value).astimezone(_zone(state.lookup("_zone")))
    text: str = babel.dates.format_skeleton("MMMMd", moment, locale=state.lookup("_locale"))
    return text


@pass_state
def _time(state: Any, value: str) -> str:
    if len(value) <= len("2026-11-23"):
        raise ValueError("a day has no hour")
    moment = datetime.fromisoformat(value).astimezone(_zone(state.lookup("_zone")))
    text: str = babel.dates.format_time(moment, "short", tzinfo=moment.tzinfo, locale=state.lookup("_locale"))
    return text


def _plural(state: Any, value: float, one: str, other: str, **forms: str) -> str:
    """Return the form for a number by CLDR's rules: `one` and `other`, and by name what a language has beside them."""
    form = Locale.parse(state.lookup("_locale")).plural_form(value)
    return forms.get(form, one if form == "one" else other)


def formatting_locale(text_locale: str, wanted: str | None) -> str:
    """Return by whose habits money and dates are written: the recipient's (`fr-CA`), if they read the text's language."""
    tag = (wanted or "").replace("_", "-")
    if tag.split("-")[0].lower() != text_locale.split("-", maxsplit=1)[0].lower():
        return text_locale
    try:
        Locale.parse(tag.replace("-", "_"))
    except (UnknownLocaleError, ValueError):
        return text_locale
    return tag


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a folder of zones, as Europe
        return ZoneInfo("Europe/Paris")


_ENVIRONMENT = _environment()


@lru_cache(maxsize=1024)
def compile_text(source: str) -> CompiledText:
    """
    Check the syntax of *source*.

    Raises:
        ValueError: With the line in the text, and what is wrong there.
    """
    try:
        names = _ENVIRONMENT.undeclared_variables_in_str(source)
    except TemplateError as error:
        raise ValueError(f"line {error.line} of the text: {error.detail}") from error
    if unknown := set(_filters_in(source)) - _FILTERS:
        raise ValueError(f"unknown filter {min(unknown)!r}; there are {', '.join(sorted(_FILTERS))}")
    return CompiledText(source, frozenset(names))


def _filters_in(source: str) -> Iterator[str]:
    """Yield the filters that *source* names: in its blocks, outside of quotes. A `|` of the text is text."""
    for block in _BLOCK.finditer(_NO_CODE.sub("", source)):
        yield from re.findall(r"\|\s*(\w+)", _QUOTED.sub("''", block[0]))


_QUOTED = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"")
_NO_CODE = re.compile(r"\{#.*?#\}|\{%-?\s*raw\s*-?%\}.*?\{%-?\s*endraw\s*-?%\}", re.DOTALL)
_BLOCK = re.compile(rf"\{{\{{(?:{_QUOTED.pattern}|.)*?\}}\}}|\{{%(?:{_QUOTED.pattern}|.)*?%\}}", re.DOTALL)
_FILTERS = frozenset(
    {
        "money",
        "date",
        "time",
        "plural",
        "default",
        "upper",
        "lower",
        "title",
        "trim",
        "first",
        "last",
        "length",
        "round",
        "int",
        "join",
    }
)


def render(text: CompiledText, variables: Mapping[str, Any], *, locale: str, zone: str) -> str:
    """
    Return *text* with its variables filled in, white space tidied.

    Args:
        text: A compiled text.
        variables: By name; a missing one fails, as does one used after the text's fuel is burnt.
        locale: Of the text, for money and dates.
        zone: The recipient's, for hours.

    Raises:
        PermanentError: A variable is missing or does not fit its filter, or the text grew too long.
    """
    values = {
        name: value[:MAX_VALUE_CHARACTERS] if isinstance(value, str) else value for name, value in variables.items()
    }
    try:
        rendered: str = _ENVIRONMENT.render_str(
            text.source, "text", **values, _locale=locale.replace("-", "_"), _zone=zone
        )
    except (
        TemplateError,
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
    ) as error:  # all but the first out of a filter
        if missing := sorted(text.variables - set(values)):
            code, detail, field = (
                DeadLetterReason.MISSING_VARIABLE,
                f"no value for {', '.join(missing)}",
                f"variables.{missing[0]}",
            )
        else:
            code, detail, field = (
                DeadLetterReason.TEMPLATE_FAILED,
                f"{type(error).__name__} while rendering",
                "text",
            )
        raise PermanentError(code, detail, field=field) from error
    if len(rendered) > MAX_CHARACTERS:
        raise PermanentError(
            DeadLetterReason.TEXT_TOO_LONG,
            f"{len(rendered)} characters; {MAX_CHARACTERS} is the most",
            field="text",
        )
    return re.sub(r"[ \t]+", " ", rendered).strip()
