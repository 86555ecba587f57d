"""
Does a text advertise? A transactional text must not: one promotional sentence makes it prospecting (CPCE art. L34-5).

A linear model over words, their neighbours and parts of words, learnt from labelled texts (`tests/advertising`); its
weights are the file beside this one, a line each. The text scores as a whole, and by its worst sentence, so that one offer
is not outvoted by three sentences of service. Deterministic; what weighed most is what it points at.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from worker.content.folding import fold, folded
from worker.content.selling import Selling, reason_of

WEIGHTS = Path(__file__).with_name("advertising.tsv")
SCALE = 100  # weights are written as hundredths
# Chosen by cross-validation on the training texts, where precision and recall meet; see docs/marketing.md.
THRESHOLD = -0.5
SENTENCE_SHARE = 0.5
POINTED_AT = 0.35  # of the heaviest word's weight


@dataclass(frozen=True, slots=True)
class Finding:
    """Words that advertise: from *start* up to *end* in the text."""

    start: int
    end: int
    reason: Selling


class Token(NamedTuple):
    """A word, as a kind where its value says nothing, and where it stands."""

    word: str
    start: int
    end: int


class Contents(NamedTuple):
    """A sentence's or a text's different words, and groups of neighbours."""

    words: set[str]
    groups: set[str]


class Weight(NamedTuple):
    """
    What a feature adds to the whole text's score, and to its sentence's, in hundredths.

    Whole numbers: their sum is the same in whatever order a process walks through a set.
    """

    text: int
    sentence: int


def find_advertising(text: str, ignoring: Collection[str] = ()) -> tuple[Finding, ...]:
    """
    Return the words of *text* that advertise, in their order; nothing if it does not.

    Args:
        text: As it is sent.
        ignoring: Phrases that somebody vouches for; they are not looked at.
    """
    looked_at = folded(text)
    for phrase in map(folded, ignoring):
        looked_at = looked_at.replace(phrase, " " * len(phrase))
    found = [contents(words) for words in sentences(looked_at)]
    if not found:
        return ()
    scores = [_sum(each, 1) for each in found]
    whole = Contents(set().union(*(each.words for each in found)), set().union(*(each.groups for each in found)))
    start = _weights()[""]
    total = start.text + _sum(whole, 0) + SENTENCE_SHARE * (start.sentence + max(scores))
    sure = _unmistakable(looked_at)
    if total <= THRESHOLD * SCALE and not sure:
        return ()
    worst = max(scores) if total > THRESHOLD * SCALE else 0
    speaking = [
        its for its, score in zip(_placed(looked_at), scores, strict=True) if score >= min(worst, -start.sentence)
    ]
    spans = [[one] for one in sure] + [span for its in speaking for span in _heaviest(its, _weights())]
    _, places = fold(text)
    return tuple(_finding(span, looked_at, places) for span in _apart(spans))


def _unmistakable(text: str) -> list[Token]:
    if not any(part in text for part in _OF_IT):
        return []
    return [Token(found[0], *found.span()) for found in UNMISTAKABLE.finditer(text)]


def _apart(spans: Iterable[Sequence[Token]]) -> Iterable[Sequence[Token]]:
    """Yield *spans* in their order, without those that overlap one before."""
    end = -1
    for span in sorted(spans, key=lambda span: (span[0].start, -span[-1].end)):
        if span[0].start >= end:
            yield span
            end = span[-1].end


def _sum(contents: Contents, which: int) -> int:
    weights = _weights()
    words = sum(_word_weight(word)[which] for word in contents.words)
    return words + sum(weights[group][which] for group in contents.groups if group in weights)


@lru_cache(maxsize=20_000)
def _word_weight(word: str) -> Weight:
    """Return what a word by itself adds, with its beginning and its parts."""
    its = [weights for name in parts(word) if (weights := _weights().get(name)) is not None]
    return Weight(sum(one.text for one in its), sum(one.sentence for one in its))


def _heaviest(tokens: Sequence[Token], weights: Mapping[str, Weight]) -> Sequence[Sequence[Token]]:
    """Return the stretches of a sentence that speak most for advertising."""
    heavy = [max(0.0, sum(_word_weight(token.word))) for token in tokens]
    for first, last, name in _groups(tokens):
        weight = sum(weights[name]) if name in weights else 0.0
        for place in range(first, last + 1):
            heavy[place] += max(0.0, weight) / (last + 1 - first)
    least = POINTED_AT * max(heavy)
    spans: list[list[Token]] = []
    for place, token in enumerate(tokens):
        if heavy[place] < least or (not token.word[0].isalnum() and token.word[0] != "<"):
            continue
        if spans and place and tokens[place - 1] is spans[-1][-1]:
            spans[-1].append(token)
        else:
            spans.append([token])
    return spans or [list(tokens)]


def _finding(span: Sequence[Token], looked_at: str, places: Sequence[int]) -> Finding:
    start, end = span[0].start, span[-1].end
    return Finding(places[start], places[end - 1] + 1, reason_of(looked_at[start:end]))


@cache
def _weights() -> dict[str, Weight]:
    """Read the weights: feature, of the text, of the sentence; the first line, without a feature, is the start."""
    rows = (line.split("\t") for line in WEIGHTS.read_text("utf-8").splitlines() if not line.startswith("# "))
    return {name: Weight(int(text), int(sentence)) for name, text, sentence in rows}


# Letters between digits, or beside four of them, are part of an order's number and no word; `sms20` is a code.
_ID = (
    r"(?<![a-z\d])(?!\d{1,2}h\d{2}(?![a-z\d]))"
    r"(?:[a-z]*\d+[a-z]+\d[a-z\d]*|[a-z]+\d+[a-z]+[a-z\d]*|[a-z]{1,3}\d{4,}|\d{4,}[a-z]+)(?![a-z\d])"
)
_TOKEN = re.compile(
    r"https?://\S+|\b[\w-]+\.(?:example|com|fr|co|net|org|uk)\b\S*"
    r"|(?:\b[a-z]{1,2}(?=\$))?[€£$]\s?\d+(?:[.,]\d+)?|\d+(?:[.,]\d+)?\s?(?:[€£$]|euros?\b|eur\b|e\b)"
    r"|-?\s?\d+(?:[.,]\d+)?\s?(?:%|pour ?cents?\b|percent\b|pc\b)"
    rf"|{_ID}|\d[\d:h./-]*|[a-z]+(?:'[a-z]+)?|[^\s\w]"
)
_BORDER = re.compile(r"(?<=[.!?;:…\n])\s+|\n+|\s(?=[(\[])|(?<=[)\]])\s?|\s-\s")
# No ordinary service text among thousands has them; so they need no context.
UNMISTAKABLE = re.compile(
    r"(?<![\w.,])-\s?\d{1,2}\s?%(?! (?:de batterie|battery))|\bventes? (?:privees?|flash)\b"
    r"|\b(?:flash|summer|winter|clearance|private|mid-season) sale\b|\bbuy one,? get one\b|\bparrainez\b"
    r"|\brefer a friend\b|\btentez (?:votre chance|de gagner)\b|\bchance to win\b|\bjeu[- ]concours\b"
    r"|\b(?:shop|buy|order) now\b|\bj'en profite\b|\b(?:jusqu'a|up to) -?\s?\d{1,2}\s?%\s?(?:off|de|sur|!)"
    r"|\b(?:save|economisez) (?:up to |jusqu'a )?(?:\d{1,2}\s?%|[€£$]\s?\d+|\d+\s?(?:€|euros?))"
)
# One of these is in whatever that finds; looking for them first is ten times as fast.
_OF_IT = (
    "%",
    "vente",
    "sale",
    "get one",
    "parrain",
    "refer",
    "tentez",
    "to win",
    "concours",
    " now",
    "profite",
    "save",
    "economisez",
)


def sentences(text: str) -> list[list[str]]:
    """Return the words of a folded text, sentence by sentence."""
    borders = [0, *(border.end() for border in _BORDER.finditer(text)), len(text)]
    found = [_TOKEN.findall(text, start, end) for start, end in pairwise(borders)]
    return [[_kind(word) for word in words] for words in found if words]


def _placed(text: str) -> list[list[Token]]:
    """Return the same with where each word stands: only a text that advertises is asked that."""
    borders = [0, *(border.end() for border in _BORDER.finditer(text)), len(text)]
    found = [list(_TOKEN.finditer(text, start, end)) for start, end in pairwise(borders)]
    return [[Token(_kind(one[0]), one.start(), one.end()) for one in tokens] for tokens in found if tokens]


def _kind(word: str) -> str:
    """Return `<price>` for a price, and so on: which one it is says nothing."""
    if word[0].isalpha():
        if "$" in word[:3]:
            return "<price>"
        if "." in word or "://" in word:
            return "<url>"
        return "<number>" if any(map(str.isdecimal, word)) else word
    if "%" in word or word.endswith(("cent", "cents", "pc")):
        return "<off>" if word.startswith("-") else "<percent>"
    if word[0] in "€£$" or word[-1] in "€£$ers":
        return "<price>" if len(word) > 1 else word
    return "<number>" if word[0].isdigit() else word


def contents(words: Sequence[str]) -> Contents:
    """Return what a sentence consists of."""
    return Contents(set(words), set().union(*_neighbours(words)))


def parts(word: str) -> list[str]:
    """Return the features of a word by itself: it, its beginning, and each four letters of it."""
    if len(word) < 4 or not word[0].isalpha():
        return [word]
    whole = f"^{word}$"
    four = {f"#{whole[start : start + 4]}" for start in range(len(whole) - 3)}
    return [word, f"{word[:5]}*", *sorted(four)]


def _neighbours(words: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Return two neighbours, three, and two with one between, each from the beginning of a sentence to its end."""
    its = ["<begin>", *words, "<end>"]
    two = [f"{first} {second}" for first, second in pairwise(its)]
    three = [f"{both} {third}" for both, third in zip(two, its[2:], strict=False)]
    return two, three, [f"{first} _ {third}" for first, third in zip(its, its[2:], strict=False)]


def _groups(tokens: Sequence[Token]) -> Iterable[tuple[int, int, str]]:
    """Yield the same with the first and the last one's place."""
    two, *of_three = _neighbours([token.word for token in tokens])
    most = len(tokens) - 1
    for place, name in enumerate(two):
        yield max(place - 1, 0), min(place, most), name
    for names in of_three:
        for place, name in enumerate(names):
            yield max(place - 1, 0), min(place + 1, most), name
