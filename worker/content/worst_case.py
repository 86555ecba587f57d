"""The longest text that a template can become: what `check` counts, so that nobody finds out from a bill."""

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.content.normalising import normalise
from worker.content.rendering import compile_text, render
from worker.content.segments import Segmentation, not_gsm, segment
from worker.content.templates import Template
from worker.errors import PermanentError

MOST_TEXTS = 512
FREE, OTHER_SCRIPT = "ê", "Ж"  # a Latin letter that GSM-7 lacks, which fills free values; one of another script


@dataclass(frozen=True, slots=True)
class Worst:
    """
    The dearest text of a template in one language.

    Attributes:
        body: The text, its variables filled with letters.
        cut: Its segments.
        forced_by: Characters of the template itself that force UCS-2, after its charset policy.
        in_other_script: The same with a value in another script, where a variable may hold one.
    """

    body: str
    cut: Segmentation
    forced_by: tuple[str, ...]
    in_other_script: Segmentation | None


def worst_case(
    template: Template, locale: str, values: Mapping[str, Sequence[Any]], free: Collection[str], stop: str
) -> Worst:
    """
    Return the dearest text.

    Args:
        template: What to say.
        locale: In which language.
        values: By variable: every value it is to be tried with, the default among them where it may be missing.
        free: Variables that may hold any script.
        stop: The STOP mention.

    Raises:
        PermanentError: A text cannot be rendered at all.
    """
    texts = [written(template, locale, its, stop) for its in combinations(values)]
    body = max(texts, key=_cost)
    foreign = [
        written(
            template, locale, {name: _foreign(value) if name in free else value for name, value in its.items()}, stop
        )
        for its in combinations(values)
    ]
    forced = tuple(character for character in not_gsm(body) if character in template.text[locale])
    dearer = segment(max(foreign, key=_cost)) if free else None
    return Worst(body, segment(body), forced, dearer if dearer and dearer.encoding == "UCS-2" else None)


def _foreign(value: Any) -> Any:
    return value.replace(FREE, OTHER_SCRIPT) if isinstance(value, str) else value


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
