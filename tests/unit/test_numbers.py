"""Numbers as people write them."""

import json
from pathlib import Path

import phonenumbers
import pytest

from worker.policy.number import Number, check_number, parse_number
from worker.policy.verdicts import Refuse

DATA = Path(__file__).parent.parent / "data"
FRANCE = {"FR", "RE", "MQ"}


@pytest.mark.parametrize(
    ("written", "e164", "country"),
    [
        pytest.param("+33612345678", "+33612345678", "FR", id="E.164"),
        pytest.param("06 12 34 56 78", "+33612345678", "FR", id="as the French write it"),
        pytest.param("06.12.34.56.78", "+33612345678", "FR", id="with dots"),
        pytest.param("0033612345678", "+33612345678", "FR", id="with 00"),
        pytest.param("+33 (0)6 12 34 56 78", "+33612345678", "FR", id="with the zero in brackets"),
        pytest.param("+33 06 12 34 56 78", "+33612345678", "FR", id="with a zero too many"),
        pytest.param("\u200b+33612345678", "+33612345678", "FR", id="pasted with a zero-width space"),
        pytest.param("+262692123456", "+262692123456", "RE", id="Réunion by metadata, not by prefix"),
        pytest.param("+596696123456", "+596696123456", "MQ", id="Martinique"),
    ],
)
def test_a_number_is_read_however_it_is_written(written: str, e164: str, country: str) -> None:
    assert check_number(written, FRANCE) == Number(e164, country)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        pytest.param("+33142278186", "not_mobile", id="a landline"),
        pytest.param("0899701234", "not_mobile", id="a premium number"),
        pytest.param("36180", "invalid_number", id="a short code"),
        pytest.param("+3361234567", "invalid_number", id="a digit short"),
        pytest.param("call me", "invalid_number", id="no number"),
        pytest.param("", "invalid_number", id="nothing"),
        pytest.param("'; DROP TABLE contacts; --", "invalid_number", id="SQL"),
        pytest.param("+14155552671", "country_not_served", id="a country that is not served"),
        pytest.param("+447700900123", "invalid_number", id="the range of British drama"),
    ],
)
def test_a_number_that_must_not_be_texted_says_why(written: str, reason: str) -> None:
    verdict = check_number(written, FRANCE)

    assert isinstance(verdict, Refuse)
    assert verdict.reason == reason


def test_the_same_number_is_the_same_person_however_written() -> None:
    assert parse_number("06 12 34 56 78") == parse_number("+33612345678")


def table() -> list[dict]:
    lines = (DATA / "numbers.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("row", table(), ids=lambda row: f"{row['why']}: {row['written']!r}"[:80])
def test_the_table_of_numbers_as_people_write_them(row: dict) -> None:
    number = parse_number(row["written"])

    if row["verdict"] == "textable":
        assert number == Number(row["e164"], row["country"])
    else:
        assert isinstance(number, Refuse)
        assert number.reason == row["verdict"]


@pytest.mark.parametrize(
    ("written", "would_be"),
    [
        pytest.param("06 47 OO O8 95", "+33647666895", id="the letter O is 6 on a keypad"),
        pytest.param("CMD-612345690", "+33612345690", id="an order's number"),
        pytest.param("0647182593;0781224365", "+33647182593", id="two numbers"),
    ],
)
def test_what_the_library_would_take_for_somebodys_number_is_refused(written: str, would_be: str) -> None:
    library = phonenumbers.parse(written, "FR")

    assert phonenumbers.format_number(library, phonenumbers.PhoneNumberFormat.E164).startswith(would_be)
    assert isinstance(parse_number(written), Refuse)
