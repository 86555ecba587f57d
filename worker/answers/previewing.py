"""A template as people will see it: each language with its samples, counted and priced."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from worker.content.composing import Text, compose
from worker.content.segments import EXTENSION, not_gsm
from worker.content.templates import Template
from worker.content.worst_case import Worst, worst_case
from worker.delivery.accounts import Account
from worker.errors import ConfigurationError, PermanentError, Problem
from worker.pages import page as whole
from worker.routing.loading import Configuration
from worker.routing.table import nearest
from worker.routing.texts import bounds_in, free_of, sample_values, values_to_try

_STYLE = (
    "body{margin:1rem auto;max-width:70rem;padding:0 1rem;background:#f4f4f6}"
    "main{display:flex;flex-wrap:wrap;gap:2rem}"
    ".phone{box-sizing:border-box;width:22rem;max-width:calc(100vw - 2rem);"
    "border:.6rem solid #222;border-radius:2rem;background:#fff;padding:1.2rem;min-height:22rem}"
    ".from{text-align:center;color:#555;margin:0 0 1rem}.bubble{background:#e6e6ea;border-radius:1rem;padding:.7rem 1rem;"
    "white-space:pre-wrap;overflow-wrap:anywhere}.cut{border-left:3px solid #c00;margin:0 .15rem}.dear{background:#ffd9d9}"
    "dl{font-size:.9rem}dt{font-weight:600}dd{margin:0 0 .3rem}"
)


@dataclass(frozen=True, slots=True)
class Preview:
    """
    A text of a template.

    Attributes:
        dear: Characters that cost most: those that force UCS-2, else those that count twice.
        worst: The longest that it can become.
        prices: Of the sample, in the account's currency, with the countries where it costs that.
    """

    locale: str
    text: Text
    dear: tuple[str, ...]
    worst: Worst
    prices: Mapping[float, str]


def preview(configuration: Configuration, name: str, values: Mapping[str, str]) -> list[Preview]:
    """
    Return a template's texts in each of its languages.

    Args:
        configuration: Whole and valid.
        name: The template's id.
        values: Variables that take another value than their sample.

    Raises:
        ConfigurationError: There is no such template or variable, or the values do not fit it.
    """
    template = configuration.templates.by_id.get(name)
    if template is None:
        raise ConfigurationError([Problem("templates", None, name, nearest(name, configuration.templates.by_id))])
    if unknown := sorted(set(values) - set(template.variables)):
        told = f"is no variable of {name}; {nearest(unknown[0], template.variables)}"
        raise ConfigurationError([Problem("--value", None, unknown[0], told)])
    account = configuration.accounts.of(template.category)[1]
    return [_preview(configuration, name, template, account, locale, values) for locale in template.text]


def _preview(
    configuration: Configuration,
    name: str,
    template: Template,
    account: Account,
    locale: str,
    values: Mapping[str, str],
) -> Preview:
    stop, bounds = account.stop_mention, bounds_in(configuration.table, name, template)
    try:
        text = compose(template, {**sample_values(template), **values}, locale=locale, zone=None, stop=stop)
        worst = worst_case(template, locale, values_to_try(template, bounds), free_of(bounds), stop)
    except PermanentError as error:
        raise ConfigurationError([configuration.templates.files[name].problem(("text", locale), str(error))]) from error
    dear = tuple(not_gsm(text.body)) or tuple(c for c in dict.fromkeys(text.body) if c in EXTENSION)
    return Preview(locale, text, dear, worst, _prices(configuration, account, text))


def _prices(configuration: Configuration, account: Account, text: Text) -> dict[float, str]:
    """Return what a text costs, dearest first, with the countries where it costs that."""
    countries: dict[float, list[str]] = defaultdict(list)
    for country in sorted(configuration.settings.delivery.countries):
        if (each := account.price(country)) is not None:
            countries[each * text.segmentation.segments].append(country)
    return {price: ", ".join(countries[price]) for price in sorted(countries, reverse=True)}


def told(one: Preview) -> list[tuple[str, str]]:
    """Return what is to be said of a text: name and value."""
    cut, worst = one.text.segmentation, one.worst
    said = [
        ("language", one.locale),
        ("this sample", f"{cut.units} characters, {cut.encoding}, {cut.segments} segment{'s'[: cut.segments > 1]}"),
        ("at the longest", f"{worst.cut.units} characters, {worst.cut.encoding}, {worst.cut.segments} segments"),
    ]
    if worst.dearest is not None:
        said.append(("with the dearest characters", f"{worst.dearest.encoding}, {worst.dearest.segments} segments"))
    if one.dear:
        why = "forces UCS-2" if cut.encoding == "UCS-2" else "counts twice"
        said.append(("the dearest character", f"{one.dear[0]} {why}"))
    if not one.prices:
        said.append(("price", "the account names none"))
    return said + [(f"price to {countries}", f"{price:.3f}") for price, countries in one.prices.items()]


def page(name: str, previews: list[Preview]) -> str:
    """Return the texts as an HTML page that stands by itself."""
    phones = "".join(
        f'<section><div class="phone"><p class="from">{escape(one.text.sender)}</p>'
        f'<div class="bubble">{_bubble(one)}</div></div>'
        f"<dl>{''.join(f'<dt>{escape(key)}</dt><dd>{escape(value)}</dd>' for key, value in told(one))}</dl></section>"
        for one in previews
    )
    return whole(name, _STYLE, f"<h1>{escape(name)}</h1><main>{phones}</main>")


def _bubble(one: Preview) -> str:
    """Return the text with its borders and its dearest character marked."""
    parts = one.text.segmentation.parts(one.text.body)
    marked = [
        "".join(f'<span class="dear">{escape(c)}</span>' if c in one.dear else escape(c) for c in part)
        for part in parts
    ]
    return '<span class="cut"></span>'.join(marked)
