"""
The fence: what its one transaction decides, as a pure function of what the transaction read.

In order, for a batch sorted by lane and age: what is settled already; what must be refused; then, while the account is not
held, has tokens above the lane's threshold and requests to spare, the claim. Everything else waits.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from schemas.messages import Lane
from schemas.outcomes import OutcomeKind
from worker.delivery.accounts import Account
from worker.delivery.ledger import Entry, State, claim, conclude, is_doubtful, may_ask_again
from worker.policy.consent import DatedAct, Suppression, check_consent
from worker.policy.verdicts import Reason, Refuse, Send, Verdict

# How much of the bucket each lane leaves for those before it.
THRESHOLD = {Lane.URGENT: 0.0, Lane.TRANSACTIONAL: 0.1, Lane.MARKETING: 0.3}
PRIORITY = {lane: place for place, lane in enumerate(Lane)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """
    What one message asks of the fence.

    Attributes:
        holder: Incarnation of the process and number of the ask; a repeated ask finds its own claim by it.
        person: Keyed hash of the number, whose acts decide; None if there is no number.
        purpose: Of marketing; None for transactional.
        verdict: What the checks before the fence said; a refusal is settled here, and takes no token.
        expires_at: Seconds since 1970; later, it is `expired`.
        queued_at: Monotonic seconds, for age.
        outcome: Makes the payload of a terminal outcome.
    """

    message_id: str
    fingerprint: str
    holder: str
    lane: Lane
    person: str | None
    purpose: str | None
    segments: int
    verdict: Verdict
    expires_at: float
    queued_at: float
    outcome: Callable[[OutcomeKind, Reason | None], bytes]


@dataclass(frozen=True, slots=True)
class Claimed:
    """The HTTP call may start, within the account's start window since *asked_at* (monotonic)."""

    attempt: int
    holder: str
    asked_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Settled:
    """It ended, now or earlier; *payload* is to be published."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Busy:
    """Another process is at it; ask again in *retry_in_s*."""

    retry_in_s: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now: the account is held, out of tokens or busy, or consent is not known late enough."""

    retry_in_s: float
    why: str


@dataclass(frozen=True, slots=True)
class IdReused:
    """The same event id came with other content."""


Reply = Claimed | Settled | Busy | Wait | IdReused


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """
    What the transaction read, under its locks. Times are the database's seconds since 1970.

    Attributes:
        tokens: In the bucket at *refilled_at*; may be negative after a long text.
        live_claims: Claims of this account within their lease, of every process.
        projection_age_s: How old the knowledge of consent is; None if nothing was ever projected.
    """

    now: float
    tokens: float
    refilled_at: float
    held_until: float
    live_claims: int
    entries: Mapping[str, Entry]
    acts: Mapping[str, Sequence[DatedAct]]
    suppressions: Mapping[str, Sequence[Suppression]]
    projection_age_s: float | None


@dataclass(frozen=True, slots=True)
class Decision:
    """
    What the transaction writes, and answers.

    Attributes:
        tokens: Left in the bucket, refilled up to the view's now.
        replies: In the order of the asks.
        entries: Rows to write.
    """

    tokens: float
    replies: list[Reply]
    entries: list[Entry] = field(default_factory=list)


def in_order(asks: Iterable[Ask]) -> list[Ask]:
    """Return *asks* by lane, then age."""
    return sorted(asks, key=lambda ask: (PRIORITY[ask.lane], ask.queued_at))


def decide(
    asks: Sequence[Ask],
    view: View,
    name: str,
    account: Account,
    incarnation: str,
    projection_max_age_s: float,
) -> Decision:
    """Return what becomes of *asks*, which are in order, at the account called *name*."""
    gate = _Gate(view, account)
    written: list[Entry] = []
    replies: list[Reply] = []
    entries = dict(view.entries)
    for ask in asks:
        entry = entries.get(ask.message_id)
        again = entry is not view.entries.get(ask.message_id)  # decided on in this very batch
        reply = Busy(0.05) if again else _known(ask, entry, incarnation, view.now)
        if reply is None:
            reply, changed = _decide_one(ask, entry, view, gate, name, account, projection_max_age_s)
            entries |= {changed_entry.message_id: changed_entry for changed_entry in changed}
            written += changed
        replies.append(reply)
    return Decision(gate.tokens, replies, written)


def _known(ask: Ask, entry: Entry | None, incarnation: str, now: float) -> Reply | None:
    if entry is None:
        return None
    if entry.fingerprint != ask.fingerprint:
        return IdReused()
    if entry.is_settled:
        return Settled(entry.outcome or b"")
    if entry.state is not State.CLAIMED:
        return None
    if entry.holder == ask.holder:  # the answer to this very ask was lost on its way from the database
        return Claimed(entry.attempt, ask.holder)
    return None if is_doubtful(entry, incarnation, now) else Busy((entry.lease_until or now) - now)


def _decide_one(
    ask: Ask, entry: Entry | None, view: View, gate: "_Gate", name: str, account: Account, max_age_s: float
) -> tuple[Reply, list[Entry]]:
    before = entry or Entry(message_id=ask.message_id, fingerprint=ask.fingerprint, state=State.RELEASED)
    doubtful = before.state in (State.IN_DOUBT, State.CLAIMED)
    verdict = _verdict(ask, view)
    known_there = before.account == name and may_ask_again(before, account.ref_life_s, view.now)
    if isinstance(verdict, Refuse) or (doubtful and not known_there):
        kind, reason = (
            (verdict.kind, verdict.reason) if isinstance(verdict, Refuse) else (OutcomeKind.UNKNOWN, Reason.IN_DOUBT)
        )
        after, kind = conclude(before, kind)
        payload = ask.outcome(kind, Reason.IN_DOUBT if kind is OutcomeKind.UNKNOWN else reason)
        return Settled(payload), [replace(after, outcome=payload)]
    if ask.purpose is not None and (view.projection_age_s is None or view.projection_age_s > max_age_s):
        return Wait(1.0, "projection"), []
    if (wait := gate.pass_through(ask)) is not None:
        return wait, []
    return Claimed(entry.attempt if doubtful and entry else _next(before), ask.holder), [
        claim(before, ask.holder, name, view.now, account.lease_s)
    ]


def _next(entry: Entry) -> int:
    return entry.attempt if entry.reuse else entry.attempt + 1


def _verdict(ask: Ask, view: View) -> Verdict:
    if isinstance(ask.verdict, Refuse):
        return ask.verdict
    if view.now >= ask.expires_at:
        return Refuse(OutcomeKind.EXPIRED, Reason.EXPIRED)
    if ask.person is None:
        return Send()
    return check_consent(view.acts.get(ask.person, ()), view.suppressions.get(ask.person, ()), ask.purpose)


class _Gate:
    """Tokens and requests of one account, while one batch passes."""

    def __init__(self, view: View, account: Account) -> None:
        elapsed = max(0.0, view.now - view.refilled_at)
        self._account = account
        self._now = view.now
        self._held_until = view.held_until
        self._in_flight = view.live_claims
        self._shut: Wait | None = None
        self.tokens = min(account.bucket, view.tokens + elapsed * account.segments_per_second)

    def pass_through(self, ask: Ask) -> Wait | None:
        """Take what *ask* needs, or say how long to wait; who comes later never passes who waits."""
        self._shut = self._shut or self._refuse(ask)
        if self._shut is None:
            self.tokens -= ask.segments
            self._in_flight += 1
        return self._shut

    def _refuse(self, ask: Ask) -> Wait | None:
        if self._held_until > self._now:
            return Wait(min(self._held_until - self._now, 5.0), "held")
        if self._in_flight >= self._account.max_in_flight:
            return Wait(0.05, "in_flight")
        missing = self._need(ask) - self.tokens
        return Wait(missing / self._account.segments_per_second, "rate") if missing > 0 else None

    def _need(self, ask: Ask) -> float:
        """Tokens that must be there: above the lane's threshold, but never more than the bucket can hold."""
        bucket = self._account.bucket
        if ask.lane is Lane.URGENT:  # may go into debt by one message
            return min(1.0, bucket)
        return min(ask.segments + THRESHOLD[ask.lane] * bucket, bucket)
