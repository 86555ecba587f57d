"""What a marketing text must have, and what makes it work: pure rules over a rendered sample."""

import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

from worker.content.advertising import find_advertising
from worker.content.folding import fold
from worker.content.segments import segment

# af2m: 36xxx is for advertising; 30101 is Octopush's own. An alphanumeric sender cannot be answered, so the text names it.
FRENCH_STOP = re.compile(r"\bSTOP\b(?: SMS)?(?: au)? ?3\d{4}\b", re.IGNORECASE)
FRENCH = frozenset({"FR", "GP", "MQ", "GF", "RE", "YT", "PM", "BL", "MF"})
LINK = re.compile(r"https?://\S+|\b[\w-]+\.[a-z]{2,}/\S*")
_MONTHS = "jan|f[eé]v|feb|mar|av|apr|mai|may|jui|jul|jun|ao|aug|sep|oct|nov|d[eé]c"
DATE = re.compile(rf"\b\d{{1,2}}[/.]\d{{1,2}}\b|\b\d{{1,2}}(?:er|st|nd|rd|th)? (?:{_MONTHS})", re.IGNORECASE)
CODE = re.compile(r"\b[cC]ode :?\s?\w{3,12}\b")
SHORTEST, LONGEST, HOOK = 120, 160, 40


class Remark(NamedTuple):
    """What is wrong, or could be better."""

    message: str
    warning: bool


def check_marketing(
    body: str, stop: str, brands: Collection[str], countries: Collection[str], names: Collection[str] = ()
) -> Iterable[Remark]:
    """
    Yield what a marketing text lacks.

    Args:
        body: Rendered with sample values.
        stop: The account's STOP mention.
        brands: Names that say who advertises.
        countries: That are served.
        names: Of the sample's recipient: calling somebody by name is a hook.
    """
    if FRENCH & set(countries) and not FRENCH_STOP.search(stop):
        yield Remark(f"its account's stop_mention is {stop!r}; France needs a short code: STOP au 36xxx", warning=False)
    named = fold(body)[0]
    if brands and not any(fold(brand)[0] in named for brand in brands):
        yield Remark(f"does not say who advertises; name one of {', '.join(sorted(brands))}", warning=False)
    words = body.replace(stop, "")
    if not (LINK.search(words) or DATE.search(words) or CODE.search(words)):
        yield Remark("has no call to action: a link, a date or a code", warning=False)
    length = segment(body).units
    if not SHORTEST <= length <= LONGEST:
        yield Remark(f"has {length} characters with its samples; {SHORTEST} to {LONGEST} read best", warning=True)
    if not find_advertising(words):
        yield Remark("makes no offer that the check for advertising can see; is it marketing at all?", warning=True)
    elif not _hooks(words, (*brands, *names)):
        yield Remark(
            f"begins without a hook: a name, an offer or the brand in its first {HOOK} characters", warning=True
        )


def _hooks(words: str, names: Collection[str]) -> bool:
    offer = any(one.start < HOOK for one in find_advertising(words))
    return offer or any(fold(name)[0] in fold(words[:HOOK])[0] for name in names)
