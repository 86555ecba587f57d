"""The check for advertising: on texts that it was not learnt from, and on what it must never take for advertising."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.builders import SHIPPED
from worker.cli import app
from worker.content.advertising import find_advertising
from worker.content import folding
from worker.content.folding import fold, folded
from worker.content.composing import compose
from worker.content.templates import load_templates
from worker.errors import DeadLetterReason, PermanentError

DATA = Path(__file__).parent.parent / "data" / "advertising"


def texts(name: str) -> list[dict]:
    return [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text("utf-8").splitlines()]


def quality(rows: list[dict]) -> tuple[float, float]:
    found = [bool(find_advertising(row["text"])) for row in rows]
    right = sum(its and row["advertising"] for its, row in zip(found, rows, strict=True))
    return right / sum(found), right / sum(row["advertising"] for row in rows)


def test_texts_that_were_held_out_are_told_apart() -> None:
    rows = texts("held_out")
    of = {locale: [row for row in rows if row["locale"] == locale] for locale in ("fr", "en", "es", "de", "it")}
    assert min(map(len, of.values())) > 100

    precision, recall = quality([*of["fr"], *of["en"]])

    assert precision >= 0.97
    assert recall >= 0.96
    for locale, its in of.items():
        assert min(quality(its)) >= (0.94 if locale in ("fr", "en") else 0.86), locale


def test_no_text_is_in_both_sets_and_none_has_two_labels() -> None:
    training, held_out = texts("training"), texts("held_out")
    labels: dict[str, bool] = {}
    for row in training:
        assert labels.setdefault(fold(row["text"])[0], row["advertising"]) == row["advertising"], row["text"]

    assert not set(labels) & {fold(row["text"])[0] for row in held_out}
    assert len(training) > 3_000
    assert {row["locale"] for row in training} == {"fr", "en", "es", "de", "it"}


@pytest.mark.parametrize(
    "text",
    [
        "Votre remboursement de 20 % a été effectué sur votre carte.",
        "482913 est votre code de connexion. Il est valable 5 minutes, ne le donnez à personne.",
        "Entretien mardi 9h pour l'offre d'emploi n° 442. Merci de confirmer votre présence.",
        "Alerte : un paiement de 230,00 EUR a été refusé. Ce n'est pas vous ? Appelez le 01 23 45 67 89.",
        "Le solde de votre compte est de 12,40 EUR au 24/11.",
        "Plus que 2 jours pour retirer votre colis au relais, 12 rue de la Paix.",
        "Your refund of 20% has been sent to your card.",
        "Your parcel is at the locker. Collect it before Friday, or it goes back to the sender.",
        "Job offer 442: your interview is on Tuesday at 9. Please confirm.",
        "Ola, pedido 423557ab2406 de R$ 80,49 confirmado.",  # letters inside an id are no words
        "Pedido ab42f9 recebido: R$ 12,90.",
        "R$ 80,49",  # a price alone is no offer
        "Total: 49,90 EUR",
    ],
)
def test_service_words_that_look_like_offers_are_let_through(text: str) -> None:
    assert not find_advertising(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Alerte : paiement de 230,00 EUR refusé. Et -20 % en boutique ce week-end avec le code SMS20 !", "-20 %"),
        ("Votre commande est partie. Profitez vite de nos soldes : jusqu'à -50 % sur tout le site.", "soldes"),
        ("Your order is on its way. Get 20% off your next one with code SMS20.", "20% off"),
        ("Votre colis est livré. Robe à 29 € au lieu de 49 €, plus que 2 jours !", "au lieu de"),
    ],
)
def test_the_words_that_advertise_are_pointed_at(text: str, words: str) -> None:
    found = find_advertising(text)

    start = text.index(words)
    assert any(one.start < start + len(words) and start < one.end for one in found), [
        text[one.start : one.end] for one in found
    ]


def test_a_variable_cannot_smuggle_an_offer_in_and_the_letter_does_not_repeat_it() -> None:
    template = load_templates(SHIPPED / "templates").by_id["order_delivered"]
    values = {"order": "1234", "first_name": "", "place": "-20 % AVEC LE CODE NOEL"}

    with pytest.raises(PermanentError) as caught:
        compose(template, values, locale="fr", zone=None, stop="STOP au 30101")

    assert caught.value.code is DeadLetterReason.ADVERTISING
    assert "NOEL" not in str(caught.value)
    vouched = template.model_copy(update={"not_advertising": ("-20 % avec le code noel",)})
    assert "NOEL" in compose(vouched, values, locale="fr", zone=None, stop="STOP au 30101").body


@given(st.text(max_size=400))
def test_any_text_has_an_answer_whose_words_are_in_it(text: str) -> None:
    for one in find_advertising(text):
        assert 0 <= one.start < one.end <= len(text)


def test_the_answer_is_the_same_in_another_process() -> None:
    rows = texts("held_out")
    told = [[(one.start, one.end, str(one.reason)) for one in find_advertising(row["text"])] for row in rows]
    lines = "".join(json.dumps({"text": row["text"]}) + "\n" for row in rows)

    for seed in ("1", "2"):  # sets have another order in each
        again = subprocess.run(
            [sys.executable, "-m", "worker", "lint-text", "--json"], input=lines, capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout.splitlines()  # fmt: skip
        answers = [json.loads(line)["spans"] for line in again]
        assert [[(one["start"], one["end"], one["reason"]) for one in its] for its in answers] == told


def test_lint_text_answers_a_line_each_and_says_which_line_is_wrong() -> None:
    lines = '{"text": "Votre code est 1234"}\n\n{"text": "Soldes : -50 % sur tout !", "locale": "fr"}\n'
    answer = CliRunner().invoke(app, ["lint-text", "--json"], input=lines)

    first, second = map(json.loads, answer.stdout.splitlines())
    assert (first["advertising"], second["advertising"]) == (False, True)
    assert {"start", "end", "text", "reason", "meaning"} == set(second["spans"][0])
    wrong = CliRunner().invoke(app, ["lint-text"], input='{"text": 5}\n')
    assert wrong.exit_code == 2
    assert "line 1: expected a JSON object with a text" in wrong.stderr


@pytest.mark.parametrize(
    ("category", "text", "code"),
    [("transactional", "Soldes : -50 % sur tout !", 1), ("transactional", "Votre code est 1234", 0),
     ("marketing", "Soldes : -50 % sur tout !", 0), ("marketing", "Votre code est 1234", 1)],
)  # fmt: skip
def test_lint_text_says_by_its_exit_code_whether_the_text_fits_its_category(
    category: str, text: str, code: int
) -> None:
    assert CliRunner().invoke(app, ["lint-text", "--category", category, text]).exit_code == code


@pytest.mark.parametrize("name", ["Camille", "Grace", "Noël", "Faith", "Summer", "Chance", "Prosper"])
def test_nobodys_name_makes_an_alert_advertise(name: str) -> None:
    template = load_templates(SHIPPED / "templates").by_id["account_alert"]
    values = {"first_name": name, "kind": "large_withdrawal", "device": "", "amount": {"amount": 900.0}}

    assert name[:2] in compose(template, values, locale="en", zone=None, stop="STOP au 30101").body


def test_no_stranger_s_characters_fill_the_memory() -> None:
    for start in range(0x4E00, 0x9E00, 1_000):
        folded("".join(map(chr, range(start, start + 1_000))))

    assert len(folding._TABLE) <= folding.MOST_CHARACTERS
    assert folding._plain.cache_info().maxsize == folding.MOST_CHARACTERS
    assert folded("É’œ") == "e'oe"
