"""Numbers by Google's metadata: valid, able to take a text, and of a country that is served."""

from collections.abc import Container
from dataclasses import dataclass
from functools import lru_cache

import phonenumbers
from phonenumbers import PhoneNumberType

from worker.policy.verdicts import Reason, Refuse, suppress

# Countries without a separate mobile range (US, CA) answer FIXED_LINE_OR_MOBILE.
TEXTABLE = frozenset({PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE})
DEFAULT_REGION = "FR"


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
    try:
        parsed = phonenumbers.parse(written, region)
    except phonenumbers.NumberParseException:
        return suppress(Reason.INVALID_NUMBER)
    if not phonenumbers.is_valid_number(parsed):
        return suppress(Reason.INVALID_NUMBER)
    if phonenumbers.number_type(parsed) not in TEXTABLE:
        return suppress(Reason.NOT_MOBILE)
    e164 = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    region_code = phonenumbers.region_code_for_number(parsed) or ""
    return Number(e164, region_code if len(region_code) == 2 else "ZZ")  # 001 is a satellite, not a country


def check_number(written: str, countries: Container[str]) -> Number | Refuse:
    """Return *written* as a number that may be texted, or why not."""
    number = parse_number(written)
    if isinstance(number, Number) and number.country not in countries:
        return suppress(Reason.COUNTRY_NOT_SERVED)
    return number
