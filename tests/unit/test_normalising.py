"""What is replaced so that a French text stays GSM-7, and what is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.content.normalising import Charset, normalise
from worker.content.segments import segment
from worker.errors import DeadLetterReason, PermanentError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("François, l’été à Noël…", "Francois, l'été à Noel...", id="é and à are free and stay"),
        pytest.param("« Cœur » n° 2", '" Coeur " no 2', id="quotes, ligature, degree"),
        pytest.param("49,90\u202f€\u00a0!", "49,90 € !", id="French spaces; the euro is GSM-7"),
        pytest.param("Ça alors", "Ça alors", id="capital Ç is GSM-7"),
        pytest.param("Zoe\u0308", "Zoe", id="decomposed letters are composed first"),
        pytest.param("a\u200bb\u00adc", "abc", id="invisible characters go"),
        pytest.param("Łukasz Őri", "Lukasz Ori", id="other Latin letters too"),
        pytest.param("–—−‑", "----", id="dashes"),
        pytest.param("Привет 🎉", "Привет 🎉", id="other scripts and emoji stay"),
        pytest.param("a\tb", "a b", id="tab"),
        pytest.param("Tabac\u200d du Port", "Tabac du Port", id="a lone joiner goes"),
        pytest.param("Locker\u2122\ufe0f 12", "LockerTM 12", id="a variation selector goes, a sign is spelt"),
        pytest.param("\uff22outique \U0001d401 \u2461", "Boutique B 2", id="letters and digits in fancy forms"),
        pytest.param("B\u043eutique", "Boutique", id="a Cyrillic letter in a Latin word"),
        pytest.param("a\u2061b\u2066c", "abc", id="other format characters"),
    ],
)
def test_transliterating_changes_only_what_gsm_lacks(text: str, expected: str) -> None:
    assert normalise(text, Charset.TRANSLITERATE) == expected


@given(st.text(alphabet=st.characters(codec="iso8859-15", min_codepoint=32), max_size=200))
def test_a_western_european_text_always_becomes_gsm(text: str) -> None:
    assert segment(normalise(text, Charset.TRANSLITERATE)).encoding == "GSM-7"


@given(st.text(max_size=200))
def test_normalising_twice_changes_nothing_more(text: str) -> None:
    once = normalise(text, Charset.TRANSLITERATE)

    assert normalise(once, Charset.TRANSLITERATE) == once


def test_strict_refuses_a_letter_and_does_not_repeat_the_text() -> None:
    with pytest.raises(PermanentError) as caught:
        normalise("Bonjour François", Charset.STRICT)

    assert caught.value.code is DeadLetterReason.NOT_GSM
    assert "François" not in str(caught.value)


def test_strict_replaces_punctuation() -> None:
    assert normalise("l’été", Charset.STRICT) == "l'été"


def test_allow_only_composes() -> None:
    assert normalise("Zoe\u0308 …", Charset.ALLOW) == "Zoë …"


@given(st.text(alphabet="abc é", max_size=40), st.characters(categories=["Cf"]), st.integers(0, 40))
def test_no_format_character_costs_anything(text: str, unseen: str, place: int) -> None:
    its = text[:place] + unseen + text[place:]

    assert segment(normalise(its, Charset.TRANSLITERATE)).encoding == "GSM-7"
