"""
Keep a French text at one segment: replace what GSM-7 lacks, and only that.

`anyascii` on a whole text would strip é, è, à and Ç, which GSM-7 has; so it is asked for single characters, and only
of scripts whose Latin form a reader of that text knows.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any

from anyascii import anyascii

from worker.content.segments import EXTENSION, is_gsm, not_gsm
from worker.errors import DeadLetterReason, PermanentError


class Charset(StrEnum):
    """What a template says of characters that GSM-7 lacks."""

    TRANSLITERATE = "transliterate"  # ê becomes e, ’ becomes '; other scripts and emoji stay, and cost UCS-2
    STRICT = "strict"  # punctuation is replaced; any other such character is refused
    ALLOW = "allow"  # the text stays as it is


_SPACES = dict.fromkeys(
    "\t\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000", " "
)
JOINER = "\u200d"  # between two emoji it makes them one
# C0 and C1 controls, DEL among them; GSM-7 has line feed, carriage return and form feed.
_CONTROLS = {chr(code): "" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n\f\r"}
_UNSEEN = _CONTROLS | _SPACES
# What shows nothing, whatever category it has: fillers, the grapheme joiner, the blank Braille pattern.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufffc")
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
    if charset is Charset.ALLOW or not not_gsm(text):
        return text
    text = _LONE_JOINER.sub("", text)
    if charset is Charset.TRANSLITERATE:
        text = _MIXED.sub(_as_latin, text)
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


@lru_cache(maxsize=4096)
def is_unseen(character: str) -> bool:
    """Return whether *character* shows nothing: format characters, variation selectors, fillers; not the joiner of emoji."""
    if character in _BLANK or "\ufe00" <= character <= "\ufe0f" or "\U000e0000" <= character <= "\U000e0fff":
        return True
    return unicodedata.category(character) == "Cf" and character != JOINER


def _kept(character: str) -> str:
    return "" if is_unseen(character) else _UNSEEN.get(character, character)


def _mark(character: str) -> str:
    return "" if is_unseen(character) else _PUNCTUATION.get(character, character)


def is_emoji(character: str) -> bool:
    """Return whether *character* is a picture, or a part of one: skin tones, keycaps, joiners."""
    return (
        character in (JOINER, "\u20e3")
        or is_unseen(character)
        or (unicodedata.category(character) in ("So", "Sk", "Co", "Cn") and not is_gsm(_letter(character)[:1]))
    )


def cheaper(values: Mapping[str, Any], charset: Charset) -> Iterator[Mapping[str, Any]]:
    """Yield *values* as they are, without their emoji, and with nothing that GSM-7 lacks, none longer than it was."""
    yield values
    if charset is Charset.TRANSLITERATE:
        for rewrite in (_without_emoji, _plain):
            yield {
                name: rewrite(its) if isinstance(its, str) and "://" not in its else its for name, its in values.items()
            }


def _without_emoji(value: str) -> str:
    return "".join(one for one in value if not is_emoji(one)).strip()


def _plain(value: str) -> str:
    latin = "".join(
        one if is_gsm(one) else _letter(one) if is_gsm(_letter(one)[:1]) else anyascii(one)
        for one in _without_emoji(value)
    )
    kept, room = "", len(value)
    for one in filter(is_gsm, latin):
        room -= 2 if one in EXTENSION else 1
        if room < 0:
            break
        kept += one
    return kept


def _as_latin(word: re.Match[str]) -> str:
    """Return a word of Latin letters with those of its letters in Latin that only look so."""
    return word[0].translate(_LOOKS) if _LATIN.search(word[0]) else word[0]


_LOOKS = str.maketrans(
    "АВЕЅІЈКМНОРСТУХаеѕіјорсухԁԛԝһΑΒΕΖΗΙΚΜΝΟΡΤΥΧανορυ",
    "ABESIJKMHOPCTYXaesijopcyxdqwhABEZHIKMNOPTYXavopu",
)
_MIXED = re.compile(r"[^\W\d_]+")
_LATIN = re.compile(r"[A-Za-zÀ-ɏ]")
_LONE_JOINER = re.compile(
    f"(?<![\u2190-\u2bff\U0001f000-\U0001faff\ufe0f]){JOINER}|{JOINER}(?![\u2190-\u2bff\U0001f000-\U0001faff])"
)


def _is_western_sign(character: str) -> bool:
    """Signs of Latin-1 and general punctuation: ¯ ± ÷ ‰, and spaces and dashes that no table lists."""
    return "\u00a0" <= character <= "\u00ff" or "\u2000" <= character <= "\u206f"


@lru_cache(maxsize=4096)
def _letter(character: str) -> str:
    if is_unseen(character) or "\u0300" <= character <= "\u036f":  # marks that no letter was composed with
        return ""
    if (mark := _PUNCTUATION.get(character)) is not None:
        return mark
    alike = "".join(one for one in unicodedata.normalize("NFKD", character) if not unicodedata.combining(one))
    alike = alike.replace("\u2044", "/")
    if alike != character and alike and all(is_gsm(one) and ord(one) < 0x80 for one in alike):
        return alike  # 𝐁, Ｂ, ﬁ, ②, ⅓
    is_letter = "LATIN" in unicodedata.name(character, "") and unicodedata.category(character).startswith("L")
    if not is_letter and not _is_western_sign(character):
        return character
    latin: str = anyascii(character)
    return latin if latin and all(map(is_gsm, latin)) else character
