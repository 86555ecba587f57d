"""How often one number may be texted: at most so many in any stretch of time. The fence counts, so it is exact."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from worker.policy.rules import CapRule


@dataclass(frozen=True, slots=True)
class Cap:
    """
    A rule, and what it counts.

    Attributes:
        scopes: Prefix of what is counted: `marketing:` for all marketing, `marketing:offers:` for one purpose.
        seconds: Length of the stretch.
    """

    scope: str
    most: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Counted:
    """
    A text that was sent, or may have been: claimed, in doubt, accepted or unknown.

    Attributes:
        scope: What it counts as.
        at: Seconds since 1970, by the database's clock.
    """

    message_id: str
    scope: str
    at: float


def caps_of(scope: str, rules: Iterable[CapRule]) -> tuple[Cap, ...]:
    """Return *rules* over what begins with *scope*."""
    return tuple(Cap(scope, rule.most, rule.per.total_seconds()) for rule in rules)


def free_at(caps: Sequence[Cap], counted: Iterable[Counted], message_id: str, now: float) -> float | None:
    """
    Return when every one of *caps* lets another text through; None for now.

    Args:
        caps: That hold for the message.
        counted: What was sent to its number.
        message_id: Which never counts against itself.
        now: Seconds since 1970.
    """
    others = [one for one in counted if one.message_id != message_id]
    free = now
    for cap in caps:
        times = sorted(one.at for one in others if one.scope.startswith(cap.scope) and one.at > now - cap.seconds)
        if len(times) >= cap.most:
            free = max(free, times[-cap.most] + cap.seconds)
    return free if free > now else None
