"""
Keep a French text at one segment: replace what GSM-7 lacks, and only that.

`anyascii` on a whole text would strip é, è, à and Ç, which GSM-7 has; so it is asked for single characters, and only
of scripts whose Latin form a reader of that text knows.
"""

import unicodedata
from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache

from anyascii import anyascii

from worker.content.segments import is_gsm, not_gsm
from worker.errors import DeadLetterReason, PermanentError


class Charset(StrEnum):
    """What a template says of characters that GSM-7 lacks."""

    TRANSLITERATE = "transliterate"  # ê becomes e, ’ becomes '; other scripts and emoji stay, and cost UCS-2
    STRICT = "strict"  # punctuation is replaced; any other such character is refused
    ALLOW = "allow"  # the text stays as it is


_SPACES = dict.fromkeys(
    "\t\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " "
)
_NOTHING = dict.fromkeys("\u00ad\u200b\u200c\u200e\u200f\u2060\ufeff", "")
# C0 and C1 controls, DEL among them; GSM-7 has line feed, carriage return and form feed.
_CONTROLS = {chr(code): "" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n\f\r"}
_UNSEEN = _CONTROLS | _SPACES | _NOTHING
_PUNCTUATION = _UNSEEN | {
    "’": "'", "‘": "'", "‚": "'", "ʼ": "'", "′": "'", "`": "'", "´": "'", "‹": "'", "›": "'",
    "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "″": '"',
    "…": "...", "–": "-", "—": "-", "−": "-", "‐": "-", "‑": "-", "‒": "-", "―": "-", "•": "-", "·": ".",
    "×": "x", "№": "No", "°": "o", "º": "o", "ª": "a", "™": "TM", "®": "(R)", "©": "(C)", "¨": '"',
    "²": "2", "³": "3", "¹": "1", "½": "1/2", "¼": "1/4", "¾": "3/4", "→": "->", "←": "<-",
}  # fmt: skip


def normalise(text: str, charset: Charset) -> str:
    """
    Return *text* in NFC, with what GSM-7 lacks replaced as *charset* says; as it is, if that would not save UCS-2.

    Raises:
        PermanentError: `strict`, and a character is left that GSM-7 lacks.
    """
    text = unicodedata.normalize("NFC", text)
    if charset is Charset.ALLOW:
        return text
    replace = _letter if charset is Charset.TRANSLITERATE else _mark
    plain = _replaced(text, replace)
    left = not_gsm(plain)
    if charset is Charset.STRICT and left:
        message = f"{len(left)} characters are not in GSM-7, the first is {unicodedata.name(left[0], 'unnamed')}"
        raise PermanentError(DeadLetterReason.NOT_GSM, message, field="text")
    # Where one character forces UCS-2, the others would be replaced for nothing, and some by longer ones.
    return _replaced(text, _kept) if left else plain


def that_force_ucs2(text: str, charset: Charset) -> list[str]:
    """Return the characters of *text* that *charset* leaves, and GSM-7 lacks, each once, in order."""
    return [one for one in not_gsm(text) if charset is Charset.ALLOW or not_gsm(_letter(one))]


def _replaced(text: str, replace: Callable[[str], str]) -> str:
    for character in not_gsm(text):
        text = text.replace(character, replace(character))
    return text


def _kept(character: str) -> str:
    return _UNSEEN.get(character, character)


def _mark(character: str) -> str:
    return _PUNCTUATION.get(character, character)


def _is_western_sign(character: str) -> bool:
    """Signs of Latin-1 and general punctuation: ¯ ± ÷ ‰, and spaces and dashes that no table lists."""
    return "\u00a0" <= character <= "\u00ff" or "\u2000" <= character <= "\u206f"


@lru_cache(maxsize=4096)
def _letter(character: str) -> str:
    if (mark := _PUNCTUATION.get(character)) is not None:
        return mark
    is_letter = "LATIN" in unicodedata.name(character, "") and unicodedata.category(character).startswith("L")
    if not is_letter and not _is_western_sign(character):
        return character
    latin: str = anyascii(character)
    return latin if latin and all(map(is_gsm, latin)) else character
