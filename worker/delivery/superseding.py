"""
Events that make a waiting message pointless: in whatever order they arrive, unless they happened before its own.

An event of the very type that the message comes of must be later: an appointment that moves makes the reminder of the
time before pointless, and not its own.
"""

from collections.abc import Iterable, Mapping

LATER = ">"


def told_apart(names: Iterable[str]) -> set[str]:
    """Return the names that are looked up, without their marks."""
    return {name.removeprefix(LATER) for name in names}


def is_superseded(unless: Iterable[str], seen: Mapping[str, float], event_at: float) -> bool:
    """
    Return whether something of *unless* happened.

    Args:
        unless: Keyed hashes; one that begins with `>` must be later than the message's event, others not earlier.
        seen: When each happened last, seconds since 1970.
        event_at: When the message's event happened.
    """
    for name in unless:
        at = seen.get(name.removeprefix(LATER))
        if at is not None and (at > event_at or (at == event_at and not name.startswith(LATER))):
            return True
    return False
