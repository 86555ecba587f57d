"""
Numbers by Google's metadata: valid, able to take a text, and of a country that is served.

What people type is tidied first, and letters are never read as digits: `06 47 OO O8 95` would be somebody else's number.
"""

import re
import unicodedata
from collections.abc import Container
from dataclasses import dataclass
from functools import lru_cache

import phonenumbers
from phonenumbers import PhoneNumberType

from worker.policy.verdicts import Reason, Refuse, suppress

# Countries without a separate mobile range (US, CA) answer FIXED_LINE_OR_MOBILE.
TEXTABLE = frozenset({PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE})
DEFAULT_REGION = "FR"
# Dialled from one to the other without a country code: 0690 12 34 57 is a number of Guadeloupe.
DIALLED_ALIKE = {"FR": ("GP", "MQ", "GF", "RE", "YT", "PM")}
NATIONAL = re.compile(r"^0\d{9}$")
_LABEL = re.compile(
    r"^\W*(?:tel|tél|sms|téléphone|telephone|phone|mobile|portable|mob|gsm|n°|no)\b[.:\s]*", re.IGNORECASE
)
_SEPARATORS = str.maketrans(dict.fromkeys("·•:_,.\t/", " "))


@dataclass(frozen=True, slots=True)
class Number:
    """
    A number in E.164.

    Attributes:
        country: ISO 3166, by metadata and not by prefix: +262 is Réunion or Mayotte.
    """

    e164: str
    country: str


@lru_cache(maxsize=50_000)
def parse_number(written: str, region: str = DEFAULT_REGION) -> Number | Refuse:
    """Return *written* (in any usual form, national ones of *region*) as a number, or why it cannot be texted."""
    tidy = _tidied(written)
    national = tidy is not None and NATIONAL.match(re.sub(r"\D", "", tidy)) is not None
    alike = DIALLED_ALIKE.get(region, ()) if national else ()
    readings = (_read(tidy, one) for one in (region, *alike) if tidy)
    parsed = next((one for one in readings if one is not None), None)
    if parsed is None:
        return suppress(Reason.INVALID_NUMBER)
    if phonenumbers.number_type(parsed) not in TEXTABLE:
        return suppress(Reason.NOT_MOBILE)
    e164 = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    region_code = phonenumbers.region_code_for_number(parsed) or ""
    return Number(e164, region_code if len(region_code) == 2 else "ZZ")  # 001 is a satellite, not a country


def _tidied(written: str) -> str | None:
    """Return *written* with plain spaces and digits, without a label before it; None if letters or two numbers are left."""
    text = unicodedata.normalize("NFKC", written)
    text = "".join(" " if c.isspace() else c for c in text if unicodedata.category(c) not in ("Cf", "Mn", "Me"))
    text = _LABEL.sub("", text.strip().lstrip("'"), count=1).translate(_SEPARATORS)
    if any(character.isalpha() or character in ";#" for character in text):
        return None
    return text


def _read(text: str, region: str) -> phonenumbers.PhoneNumber | None:
    try:
        parsed = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    return parsed if phonenumbers.is_valid_number(parsed) and not parsed.extension else None


def check_number(written: str, countries: Container[str]) -> Number | Refuse:
    """Return *written* as a number that may be texted, or why not."""
    number = parse_number(written)
    if isinstance(number, Number) and number.country not in countries:
        return suppress(Reason.COUNTRY_NOT_SERVED)
    return number
