"""What `check` says a text can become, it can become; and nothing that a model allows becomes longer."""

import json
from unicodedata import normalize

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from schemas.events import EVENTS
from tests.builders import SHIPPED, configuration
from worker.cli import app
from worker.content.composing import compose
from worker.content.marketing import check_marketing
from worker.content.normalising import Charset, normalise
from worker.content.templates import Template
from worker.content.worst_case import worst_case
from worker.errors import PermanentError
from worker.routing.bounds import bound_of, bounds_of
from worker.routing.texts import bounds_in, free_of, values_to_try

CONFIGURATION = configuration()
STOP = "STOP au 30101"
# Letters that cost one: no text may become too long by such. Of all others, the worst case says how dear they can be.
LATIN = st.characters(
    categories=[], include_characters="abcdefghijklmnopqrstuvwxyzàâäçéèêëîïôöùûüÿæABCDEFGHIJ '-0123456789"
)


# Whatever JSON can hold, without the few signs that NFC itself takes apart (UAX #15, composition exclusions).
ANYTHING = st.characters(exclude_categories=["Cs", "Cc"]).filter(lambda one: len(normalize("NFC", one)) == 1)


def template(text: str, variables: dict, **changes) -> Template:
    base = {"category": "transactional", "lane": "transactional", "sender": "BOUTIQUE", "time_to_live": "PT1H"}
    return Template.model_validate({**base, "variables": variables, "text": {"fr": text}, **changes})


@pytest.mark.parametrize("name", sorted(CONFIGURATION.templates.by_id))
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_nothing_that_the_models_allow_is_longer_than_the_worst_case(name: str, data) -> None:
    its = CONFIGURATION.templates.by_id[name]
    bounds = bounds_in(CONFIGURATION.table, name, its)
    values = {}
    for variable, bound in bounds.items():
        longest = bound.values[0]
        if isinstance(longest, str) and bound.free:
            values[variable] = data.draw(st.text(LATIN, min_size=1, max_size=len(longest)))
        else:
            values[variable] = data.draw(st.sampled_from(bound.values))
        if its.variables[variable].has_default and data.draw(st.booleans()):
            values[variable] = its.variables[variable].default
    locale = data.draw(st.sampled_from(sorted(its.text)))
    vouched = its.model_copy(update={"not_advertising": ()})

    try:
        text = compose(vouched, values, locale=locale, zone="Europe/Paris", stop=STOP)
    except Exception as error:
        assert getattr(error, "code", "") == "advertising", error  # random letters may read as anything
        return

    assert text.segmentation.segments <= its.max_segments


@pytest.mark.parametrize("name", sorted(CONFIGURATION.templates.by_id))
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_no_characters_at_all_take_more_segments_than_the_dearest_that_check_tells(name: str, data) -> None:
    its = CONFIGURATION.templates.by_id[name]
    bounds, locale = bounds_in(CONFIGURATION.table, name, its), data.draw(st.sampled_from(sorted(its.text)))
    values = {}
    for variable, bound in bounds.items():
        longest = bound.values[0]
        letters = st.one_of(st.text(ANYTHING, min_size=len(longest), max_size=len(longest)), st.sampled_from("😀½€œ…").map(
            lambda one, length=len(longest): one * length
        )) if bound.free else st.sampled_from(bound.values)  # fmt: skip
        values[variable] = data.draw(letters)
    worst = worst_case(its, locale, values_to_try(its, bounds), free_of(bounds), STOP)
    vouched = its.model_copy(update={"not_advertising": ()})

    try:
        text = compose(vouched, values, locale=locale, zone="Europe/Paris", stop=STOP)
    except PermanentError as error:
        told = worst.dearest is not None and worst.dearest.segments > its.max_segments
        assert error.code == "advertising" or (error.code == "text_too_long" and told), error
        return

    if not its.shortened:
        assert text.segmentation.segments <= max(worst.cut.segments, worst.dearest.segments if worst.dearest else 0)


def test_characters_are_replaced_only_where_that_saves_ucs2() -> None:
    assert normalise("Reçu… œuvre ½", Charset.TRANSLITERATE) == "Recu... oeuvre 1/2"
    assert normalise("Reçu… 漢\u200b\u00a0½", Charset.TRANSLITERATE) == "Reçu… 漢 ½"
    assert normalise("✝ 🔤", Charset.TRANSLITERATE) == "✝ 🔤"


def test_the_worst_case_counts_every_branch_and_names_what_forces_another_encoding() -> None:
    source = "{% if kind == 'a' %}court{% else %}un texte bien plus long{% endif %} 漢 {{ name }}"
    its = template(source, {"kind": "data.kind", "name": {"path": "contact.first_name", "default": ""}})

    worst = worst_case(its, "fr", {"kind": ["a", "b"], "name": ["ê" * 60, ""]}, ["name"], STOP)

    assert worst.body.startswith("un texte bien plus long")
    assert (worst.cut.encoding, worst.cut.segments, worst.forced_by) == ("UCS-2", 2, ("漢",))


def test_a_name_of_emoji_is_the_dearest_case() -> None:
    its = template("Bonjour {{ name }}", {"name": {"path": "contact.first_name", "default": ""}})
    its = its.model_copy(update={"on_too_long": "allow"})  # otherwise the emoji go, and the text stays

    worst = worst_case(its, "fr", {"name": ["ê" * 65]}, ["name"], STOP)

    assert worst.cut.encoding == "GSM-7"  # ê becomes e
    assert (worst.dearest.encoding, worst.dearest.segments) == ("UCS-2", 3)
    strict = worst_case(its.model_copy(update={"charset": Charset.STRICT}), "fr", {"name": ["ê" * 65]}, ["name"], STOP)
    assert (strict.cut.segments, strict.dearest.encoding, strict.dearest.segments) == (1, "GSM-7", 2)


def test_bounds_are_the_models() -> None:
    its = template("x", {
        "code": "data.code", "kind": "data.kind", "amount": "data.total", "order": {"path": "data.order_id", "longest": 12},
        "name": {"path": "contact.first_name", "default": ""}, "city": {"path": "contact.city"},
    })  # fmt: skip

    def of(name: str, event: str):
        return bound_of(its.variables[name], EVENTS[event])

    assert of("code", "promotion.announced").values == ("x" * 12,)
    assert not of("code", "promotion.announced").free
    assert of("kind", "account.alert").choices == ("new_login", "password_changed", "card_blocked", "large_withdrawal")
    assert of("amount", "order.confirmed").values == ({"amount": 99_999.99, "currency": "EUR"},)
    assert len(of("order", "order.confirmed").values[0]) == 12
    assert of("name", "order.confirmed").optional
    assert of("name", "order.confirmed").free
    assert of("code", "order.confirmed") is None
    both = bounds_of(its, [EVENTS["order.confirmed"], EVENTS["promotion.announced"]])
    assert {"order", "code", "amount", "name"} <= set(both)


def test_what_is_shortened_is_cut_as_far_as_it_must_be_and_to_nothing_if_need_be() -> None:
    text = "Bonjour{% if name %} {{ name }}{% endif %}, " + "m" * 140
    its = template(text, {"name": {"path": "contact.first_name", "default": ""}}, on_too_long="shorten name")

    def body(name: str) -> str:
        return compose(its, {"name": name}, locale="fr", zone=None, stop=STOP).body

    assert body("Zoé").startswith("Bonjour Zoé, ")
    assert body("Wolfeschlegelstein").startswith("Bonjour Wolfeschle, ")
    assert body("Александр").startswith("Bonjour, ")  # one letter of it would halve the room


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("Profitez de -20 % sur les chaussures. STOP au 30101", "does not say who advertises"),
        ("BOUTIQUE : -20 % sur toutes les chaussures. STOP au 30101", "has no call to action"),
        ("BOUTIQUE : -20 % sur https://b.example/x STOP au 30101", "has 54 characters with its samples; 120 to 160 read best"),
        ("BOUTIQUE : votre facture est disponible sur https://b.example/x STOP au 30101", "makes no offer"),
        ("Nous avons le plaisir de vous informer que nous fermons jeudi. Soldes chez BOUTIQUE -50 % sur tout https://b.example "
         "STOP au 30101", "begins without a hook"),
    ],
)  # fmt: skip
def test_what_a_marketing_text_lacks_is_said(body: str, told: str) -> None:
    remarks = list(check_marketing(body, STOP, ["BOUTIQUE"], {"FR"}))

    assert any(told in remark.message for remark in remarks), remarks


def test_the_shipped_marketing_texts_lack_nothing() -> None:
    answer = CliRunner().invoke(app, ["check", "--strict", "--config", str(SHIPPED)])
    assert answer.exit_code == 0, answer.output


def test_problems_as_sarif_have_their_lines(tmp_path) -> None:
    import shutil

    folder = shutil.copytree(SHIPPED, tmp_path / "config")
    path = folder / "templates" / "order_shipped.yaml"
    path.write_text(path.read_text().replace("{{ link }}", "{{ lien }}", 1))

    answer = CliRunner().invoke(app, ["check", "--format", "sarif", "--config", str(folder)])

    assert answer.exit_code == 3
    told = json.loads(answer.stdout)
    assert told["version"] == "2.1.0"
    first = told["runs"][0]["results"][0]
    place = first["locations"][0]["physicalLocation"]
    assert (first["level"], place["artifactLocation"]["uri"]) == ("error", str(path))
    assert place["region"]["startLine"] == path.read_text()[: path.read_text().index("lien")].count("\n")


def test_a_preview_shows_each_language_with_its_borders_and_what_costs_most(tmp_path) -> None:
    def run(*words: str):
        return CliRunner().invoke(app, ["preview", *words, "--config", str(SHIPPED)])

    shown = run("order_shipped")
    foreign = run("order_shipped", "--value", "first_name=Владимир")
    file = tmp_path / "p.html"
    written = run("promotion", "--html", str(file))
    wrong, unknown = run("order_shiped"), run("order_shipped", "--value", "nickname=x")

    assert shown.exit_code == foreign.exit_code == written.exit_code == 0, shown.output
    assert "BOUTIQUE" in shown.stdout
    assert "1 segment" in " ".join(shown.stdout.split())
    assert "at the longest" in shown.stdout
    assert "GSM-7, 1 segment" in " ".join(foreign.stdout.split())  # it was shortened to nothing
    page = file.read_text()
    assert "<h1>promotion</h1>" in page
    assert page.count('class="phone"') == 2
    assert "BOUTIQUEPUB" in page
    assert "did you mean 'order_shipped'?" in str(wrong.exception)
    assert "is no variable of order_shipped" in str(unknown.exception)
