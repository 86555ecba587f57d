"""The longest text that a template can become: what `check` counts, so that nobody finds out from a bill."""

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.content.normalising import Charset, cheaper, normalise, that_force_ucs2
from worker.content.rendering import compile_text, render
from worker.content.segments import Segmentation, segment
from worker.content.templates import Template
from worker.errors import PermanentError

MOST_TEXTS = 512
FREE = "ê"  # a Latin letter that GSM-7 lacks: fills free values
# The dearest that a value may be filled with: two units of UCS-2 each; where that is refused, three of GSM-7 (1/2).
# A few musical and Hebrew signs that decompose (UAX #15, composition exclusions) would be dearer, and nobody's name.
DEAREST = {Charset.TRANSLITERATE: "😀", Charset.ALLOW: "😀", Charset.STRICT: "½"}


@dataclass(frozen=True, slots=True)
class Worst:
    """
    The dearest text of a template in one language.

    Attributes:
        body: The text, its variables filled with letters.
        cut: Its segments.
        forced_by: Characters of the template itself that force UCS-2, after its charset policy.
        dearest: The same with values of emoji, where a variable may hold such; None where it takes no more segments.
    """

    body: str
    cut: Segmentation
    forced_by: tuple[str, ...]
    dearest: Segmentation | None


def worst_case(
    template: Template, locale: str, values: Mapping[str, Sequence[Any]], free: Collection[str], stop: str
) -> Worst:
    """
    Return the dearest text.

    Args:
        template: What to say.
        locale: In which language.
        values: By variable: every value it is to be tried with, the default among them where it may be missing.
        free: Variables that may hold any character.
        stop: The STOP mention.

    Raises:
        PermanentError: A text cannot be rendered at all.
    """

    def dearest_with(filler: str) -> str:
        chosen = (
            {n: v.replace(FREE, filler) if n in free and isinstance(v, str) else v for n, v in its.items()}
            for its in combinations(values)
        )
        return max((as_sent(its) for its in chosen), key=_cost)

    def as_sent(its: Mapping[str, Any]) -> str:
        body = written(template, locale, its, stop)
        if template.on_too_long == "allow" or segment(body).segments <= template.max_segments:
            return body
        tried = (written(template, locale, one, stop) for one in cheaper(its, template.charset))
        return next((one for one in tried if segment(one).segments <= template.max_segments), body)

    body = dearest_with("e" if template.charset is Charset.STRICT else FREE)
    cut, dearest = segment(body), segment(dearest_with(DEAREST[template.charset]))
    forced = tuple(one for one in that_force_ucs2(body, template.charset) if one in template.text[locale])
    return Worst(body, cut, forced, dearest if dearest.segments > cut.segments else None)


def combinations(values: Mapping[str, Sequence[Any]]) -> Iterable[dict[str, Any]]:
    """Yield every combination, the longest values first, up to a bound."""
    ordered = [sorted(its, key=lambda value: -len(str(value))) for its in values.values()]
    for chosen in itertools.islice(itertools.product(*ordered), MOST_TEXTS):
        yield dict(zip(values, chosen, strict=True))


def written(template: Template, locale: str, values: Mapping[str, Any], stop: str) -> str:
    """Return the text with *values*, normalised; one that is far too long comes back as such."""
    variables = {**values, "stop": stop} if template.purpose else dict(values)
    try:
        return normalise(
            render(compile_text(template.text[locale]), variables, locale=locale, zone="Europe/Paris"), template.charset
        )
    except PermanentError as error:
        if error.code == "text_too_long":
            return FREE * 2_000
        raise


def _cost(body: str) -> tuple[int, int]:
    cut = segment(body)
    return cut.segments, cut.units
