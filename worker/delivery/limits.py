"""What the fence holds against a message beside consent: closing time, caps, and operators who take it back."""

from collections.abc import Sequence
from dataclasses import dataclass

from worker.policy.caps import Cap
from worker.policy.verdicts import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """
    Limits of one message.

    Attributes:
        cancelled_by: Under which names an operator may take it back.
        closes_at: Seconds since 1970; from then on *afterwards* holds instead of a `Send`.
        scope: What it counts as, under its number's caps; None if it is not to be sent, and counts nowhere.
        caps: How often its number may be texted.
        defers_over_cap: Over a cap it waits until it may go; otherwise it is suppressed.
    """

    cancelled_by: Sequence[str] = ()
    closes_at: float | None = None
    afterwards: Verdict | None = None
    scope: str | None = None
    caps: Sequence[Cap] = ()
    defers_over_cap: bool = False


NO_LIMITS = Limits()
