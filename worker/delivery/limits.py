"""What the fence holds against a message beside consent: closing time, caps, money, the guard, second thoughts."""

from collections.abc import Sequence
from dataclasses import dataclass

from worker.policy.caps import Cap
from worker.policy.guard import Watched
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
        is_customer: Its marketing needs no opt-in, only that its person never objected.
        watched: What the abuse guard knows of it; None if it does not watch it.
        cost: Estimated, in the account's currency; None where nobody has said a price.
        defers_over_cap: Over a cap it waits until it may go; otherwise it is suppressed.
    """

    cancelled_by: Sequence[str] = ()
    closes_at: float | None = None
    afterwards: Verdict | None = None
    scope: str | None = None
    caps: Sequence[Cap] = ()
    is_customer: bool = False
    watched: Watched | None = None
    cost: float | None = None
    defers_over_cap: bool = False


NO_LIMITS = Limits()
