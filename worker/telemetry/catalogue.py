"""What a metric is told with: name, type, labels, what it means, and when to worry. `docs/metrics.md` is made of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram

# From a fast database to half an hour, in seconds.
LATENCY_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


@dataclass(frozen=True, slots=True)
class Entry:
    """
    A metric, as its readers see it.

    Attributes:
        name: As Prometheus has it; a counter with `_total`, a histogram without `_bucket`.
        worry: When to; empty where it only explains others.
        quiet: It has no series while all is well.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str
    worry: str
    quiet: bool


ENTRIES: dict[str, Entry] = {}


def counter(name: str, meaning: str, labels: Sequence[str] = (), *, worry: str = "", quiet: bool = False) -> Counter:
    """Return a new counter, and note it in the catalogue."""
    ENTRIES[name] = Entry(name, "counter", tuple(labels), meaning, worry, quiet)
    return Counter(name, meaning, labels)


def gauge(name: str, meaning: str, labels: Sequence[str] = (), *, worry: str = "", quiet: bool = False) -> Gauge:
    """Return a new gauge, and note it in the catalogue."""
    ENTRIES[name] = Entry(name, "gauge", tuple(labels), meaning, worry, quiet)
    return Gauge(name, meaning, labels)


def histogram(
    name: str, meaning: str, labels: Sequence[str] = (), *, worry: str = "", quiet: bool = False
) -> Histogram:
    """Return a new histogram of seconds, and note it in the catalogue."""
    ENTRIES[name] = Entry(name, "histogram", tuple(labels), meaning, worry, quiet)
    return Histogram(name, meaning, labels, buckets=LATENCY_S)
