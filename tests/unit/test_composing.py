"""From template to text: the shipped ones within their rules, and what is refused."""

import re

import pytest

from schemas.messages import Category
from tests import builders
from worker.content.composing import compose, values_of
from worker.content.rendering import compile_text, render
from worker.content.templates import Template
from worker.errors import DeadLetterReason, PermanentError

CONFIGURATION = builders.configuration()
STOP = "STOP au 30101"
TEXTS = [
    (route.row.event, route.row.template, locale)
    for routes in CONFIGURATION.table.by_type.values()
    for route in routes
    for locale in route.template.text
]


def composed(event: str, name: str, locale: str):
    template = CONFIGURATION.templates.by_id[name]
    payload = builders.data(event, total={"amount": 129.9}) if "total" in builders.DATA[event] else builders.data(event)
    scope = {"data": payload, "contact": {"first_name": "François"}, "event": {}}
    scope["data"].setdefault("valid_minutes", 5)
    return template, compose(template, values_of(template, scope), locale=locale, zone="Europe/Paris", stop=STOP)


@pytest.mark.parametrize(("event", "name", "locale"), TEXTS, ids=lambda value: value)
def test_every_shipped_text_keeps_its_length_rule(event: str, name: str, locale: str) -> None:
    template, text = composed(event, name, locale)

    assert text.segmentation.segments == 1
    assert text.segmentation.encoding == "GSM-7"
    assert len(text.body) <= 160
    if template.category is Category.MARKETING:
        assert len(text.body) >= 120
        assert text.body.endswith(STOP)
        assert "http" in text.body
    else:
        assert "STOP" not in text.body
    assert not re.search(r"[ ]{2}|\{|\.\.", text.body)


def test_the_readme_s_text_is_one_segment_for_francois_too() -> None:
    _, text = composed("order.shipped", "order_shipped", "fr")

    assert text.body == "Bonjour Francois, votre commande #1234 a été expédiée. Suivi : https://suivi.example/AB12CD34"


@pytest.mark.parametrize(
    ("wanted", "chosen"), [("fr-CA", "fr"), ("en_GB", "en"), ("de", "fr"), (None, "fr"), ("EN", "en")]
)
def test_the_nearest_language_is_taken(wanted: str | None, chosen: str) -> None:
    assert CONFIGURATION.templates.by_id["order_shipped"].locale_for(wanted) == chosen


def template(text: str, **changes: object) -> Template:
    base = {
        "category": "transactional",
        "lane": "transactional",
        "sender": "SHOP",
        "time_to_live": "PT1H",
        "text": {"fr": text},
    }
    return Template.model_validate({**base, **changes})


def refused(its: Template, values: dict[str, object], stop: str = STOP) -> PermanentError:
    with pytest.raises(PermanentError) as caught:
        compose(its, values, locale="fr", zone=None, stop=stop)
    return caught.value


def test_a_missing_variable_is_named_and_nothing_is_sent() -> None:
    error = refused(template("Bonjour {{ name }}", variables={"name": "data.name"}), {})

    assert (error.code, error.field) == (DeadLetterReason.MISSING_VARIABLE, "variables.name")


def test_a_value_that_makes_the_text_too_long_is_refused_without_being_repeated() -> None:
    error = refused(template("Bonjour {{ name }}", variables={"name": "data.name"}), {"name": "x" * 190})

    assert error.code is DeadLetterReason.TEXT_TOO_LONG
    assert "xxx" not in str(error)


def test_a_marketing_text_that_lost_its_stop_is_refused() -> None:
    its = template("Soldes !", category="marketing", lane="marketing", purpose="offers")

    assert refused(its, {}).code is DeadLetterReason.STOP_MISSING


def test_a_value_that_does_not_fit_its_filter_is_refused() -> None:
    error = refused(template("{{ total | money }}", variables={"total": "data.total"}), {"total": "much"})

    assert error.code is DeadLetterReason.TEMPLATE_FAILED


@pytest.mark.parametrize(
    "attack",
    [
        "{% for a in 'x' * 1000 %}{% for b in 'x' * 1000 %}{{ a }}{% endfor %}{% endfor %}",
        "{{ 'a' * 10000000 }}",
        "{{ x.__class__ }}",
        "{{ x.__class__.__mro__ }}",
    ],
)
def test_a_hostile_template_neither_runs_for_ever_nor_escapes(attack: str) -> None:
    with pytest.raises(PermanentError):
        render(compile_text(attack), {"x": "y"}, locale="fr", zone="Europe/Paris")


def test_a_value_is_never_a_template() -> None:
    text = render(compile_text("Bonjour {{ name }}"), {"name": "{{ 7 * 7 }}"}, locale="fr", zone="Europe/Paris")

    assert text == "Bonjour {{ 7 * 7 }}"


def test_hours_are_those_of_the_recipient() -> None:
    text = compile_text("{{ at | time }}")

    assert render(text, {"at": "2026-12-01T09:30:00Z"}, locale="fr", zone="Indian/Reunion") == "13:30"
    assert render(text, {"at": "2026-12-01T09:30:00Z"}, locale="fr", zone="Europe/Paris") == "10:30"


@pytest.mark.parametrize("zone", ["Europe", "", "../etc", "nowhere/at all"], ids=repr)
def test_a_zone_that_is_none_is_read_as_the_shops(zone: str) -> None:
    assert render(compile_text("{{ at | time }}"), {"at": "2026-12-01T09:30:00Z"}, locale="fr", zone=zone) == "10:30"


def test_a_time_that_no_zone_can_hold_is_refused() -> None:
    with pytest.raises(PermanentError) as refused:
        render(compile_text("{{ at | time }}"), {"at": "9999-12-31T23:59:59-12:00"}, locale="fr", zone="Europe/Paris")

    assert refused.value.code is DeadLetterReason.TEMPLATE_FAILED


@pytest.mark.parametrize(
    ("locale", "number", "form"),
    [
        ("en", 0, "items"), ("en", 1, "item"), ("en", 2, "items"), ("fr", 0, "item"), ("fr", 1, "item"), ("fr", 2, "items"),
        ("fr", 1.5, "item"), ("pl", 3, "few"), ("pl", 5, "many"),
    ],
)  # fmt: skip
def test_a_number_takes_the_form_of_its_language(locale: str, number: float, form: str) -> None:
    text = compile_text('{{ n | plural("item", "items", few="few", many="many") }}')

    assert render(text, {"n": number}, locale=locale, zone="Europe/Paris") == form


@pytest.mark.parametrize(
    ("wanted", "day", "money"),
    [
        ("en-US", "March 3", "$1,234.50"), ("en-GB", "3 March", "US$1,234.50"), ("fr-CA", "3 mars", None),
        ("en-XX", "March 3", None), ("en_GB", "3 March", None), (None, "3 mars", None),
    ],
)  # fmt: skip
def test_dates_and_money_are_written_by_the_habits_of_the_recipient(wanted, day, money) -> None:
    text = {
        "fr": "Remboursement le {{ day | date }} : {{ money | money }}",
        "en": "Refund on {{ day | date }}: {{ money | money }}",
    }
    variables = {"day": "data.day", "money": "data.money"}
    base = {"category": "transactional", "lane": "transactional", "sender": "BOUTIQUE", "time_to_live": "PT1H"}
    template = Template.model_validate({**base, "variables": variables, "text": text})
    values = {"day": "2026-03-03", "money": {"amount": 1234.5, "currency": "USD"}}

    body = compose(template, values, locale=wanted, zone=None, stop=STOP).body

    assert day in body
    assert money is None or money in body


@pytest.mark.parametrize(
    "source", ["BOUTIQUE | Commande {{ order }}", "{{ order | trim }} | {{ '|' }}", "{# a | b #}{{ order }}"]
)
def test_a_bar_outside_of_a_block_is_text(source: str) -> None:
    assert compile_text(source).variables == {"order"}


def test_an_unknown_filter_is_still_refused() -> None:
    with pytest.raises(ValueError, match="unknown filter 'foo'"):
        compile_text("{{ order | foo }} a | b")


def test_a_text_goes_without_the_emoji_that_would_make_it_too_long() -> None:
    template = CONFIGURATION.templates.by_id["account_alert"]
    its = builders.data("account.alert", kind="new_login", device="iPhone de Zoé 🐶")
    scope = {"data": its, "contact": {"first_name": ""}, "event": {}}

    bodies = []
    for locale in template.text:
        text = compose(template, values_of(template, scope), locale=locale, zone="Europe/Paris", stop=STOP)
        bodies.append(text.body)
        assert text.segmentation.segments == 1

    assert all("iPhone de Zoé" in body for body in bodies)
    assert not all("🐶" in body for body in bodies)  # where it fits in one segment it stays
