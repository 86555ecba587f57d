"""
How a text is cut into segments.

GSM-7 where every character is in the default alphabet of 3GPP TS 23.038 or its extension table, UCS-2 (that is, UTF-16)
otherwise. A pair (escape and extension character, or two surrogates) is never parted, so a long text can need more
segments than its units divided by a segment's length.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Encoding = Literal["GSM-7", "UCS-2"]

# 3GPP TS 23.038, 6.2.1: the default alphabet in the order of its codes 0x00 to 0x7F; ESC (0x1B) is no character.
BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
# 6.2.1.1: the extension table; each takes two septets, as ESC goes before it.
EXTENSION = "\f^{}\\[~]|€"

_BASIC, _EXTENSION = frozenset(BASIC), frozenset(EXTENSION)
_GSM = _BASIC | _EXTENSION

# 3GPP TS 23.040, 9.2.3.24.1: the header that joins segments takes 6 octets, which is 7 septets or 3 UTF-16 units.
GSM_SINGLE, GSM_JOINED = 160, 153
UCS2_SINGLE, UCS2_JOINED = 70, 67


@dataclass(frozen=True, slots=True)
class Segmentation:
    """
    A text as it goes over the air.

    Attributes:
        units: Septets in GSM-7, UTF-16 code units in UCS-2, without the headers that join segments.
        borders: Where each segment after the first begins, as an index into the text.
    """

    encoding: Encoding
    units: int
    borders: tuple[int, ...]

    @property
    def segments(self) -> int:
        """How many SMS are charged; an empty text is one."""
        return len(self.borders) + 1

    def parts(self, text: str) -> list[str]:
        """Return *text* cut at the borders."""
        edges = [0, *self.borders, len(text)]
        return [text[start:end] for start, end in pairwise(edges)]


def is_gsm(character: str) -> bool:
    """Return whether GSM-7 has *character*."""
    return character in _GSM


def not_gsm(text: str) -> list[str]:
    """Return the characters that force UCS-2, each once, in order."""
    if _GSM.issuperset(text):
        return []
    return list(dict.fromkeys(character for character in text if character not in _GSM))


def segment(text: str) -> Segmentation:
    """Return how *text*, taken as it is, is encoded and cut."""
    if not _GSM.issuperset(text):
        return _cut("UCS-2", [2 if ord(c) > 0xFFFF else 1 for c in text], UCS2_SINGLE, UCS2_JOINED)
    units = len(text) + sum(map(text.count, EXTENSION))
    if units <= GSM_SINGLE:
        return Segmentation("GSM-7", units, ())
    return _cut("GSM-7", [2 if c in _EXTENSION else 1 for c in text], GSM_SINGLE, GSM_JOINED)


def _cut(encoding: Encoding, widths: list[int], single: int, joined: int) -> Segmentation:
    units = sum(widths)
    if units <= single:
        return Segmentation(encoding, units, ())
    borders, used = [], 0
    for index, width in enumerate(widths):
        if used + width > joined:
            borders.append(index)
            used = 0
        used += width
    return Segmentation(encoding, units, tuple(borders))
