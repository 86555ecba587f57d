"""
The ledger's rules: which state may follow which, as pure functions of a row.

    none -> claimed(n) -> sent | rejected | released(n) | in_doubt(n)
    released(n) -> claimed(n, or n+1 after a refusal) | a terminal state
    in_doubt(n) -> claimed(n) again under the same provider key while it lives | unknown

A message that must wait keeps its state, and its step rises: the copy that was read is done, the next one goes on.
A claim past its lease is in doubt, never a licence to send. What cannot be known ends as `unknown` and is never sent again.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from schemas.outcomes import OutcomeKind


class State(StrEnum):
    """Where a message stands."""

    CLAIMED = "claimed"
    RELEASED = "released"
    IN_DOUBT = "in_doubt"
    SENT = "sent"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    SUPPRESSED = "suppressed"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"


OPEN = frozenset({State.CLAIMED, State.RELEASED, State.IN_DOUBT})
STATE_OF = {
    OutcomeKind.ACCEPTED: State.SENT,
    OutcomeKind.REJECTED: State.REJECTED,
    OutcomeKind.UNKNOWN: State.UNKNOWN,
    OutcomeKind.SUPPRESSED: State.SUPPRESSED,
    OutcomeKind.SUPERSEDED: State.SUPERSEDED,
    OutcomeKind.EXPIRED: State.EXPIRED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """
    A row of the ledger. Times are seconds since 1970 by the database's clock.

    Attributes:
        fingerprint: Of the event; another one under the same id is an id used twice.
        attempt: The n of the provider key; rises only after an answer that definitely refused.
        reuse: The next claim keeps n: nothing was sent under it.
        holder: Process incarnation and ask, while claimed.
        ref_since: First claim under this n; the provider remembers the key from then.
        ambiguous: An attempt under this n may have reached the provider.
        outcome: The stored payload of the last outcome: what is published, now and again.
        step: How often it has been deferred; a copy of an earlier step is done at once.
        given_up: An earlier attempt may have been sent, and was given up for a new one.
        person: Keyed hash of the number of the last claim, whose caps it counts under while it is, or may be, sent.
        scope: What it counts as.
        claimed_at: When it was claimed last.
        reserved: Money that the last claim reserved, by the tallies of its time; None where nobody keeps a budget.
    """

    message_id: str
    fingerprint: str
    state: State
    attempt: int = 0
    reuse: bool = False
    holder: str | None = None
    account: str | None = None
    lease_until: float | None = None
    ref_since: float | None = None
    ambiguous: bool = False
    outcome: bytes | None = None
    step: int = 0
    given_up: bool = False
    person: str | None = None
    scope: str | None = None
    claimed_at: float | None = None
    reserved: float | None = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing more can come of it."""
        return self.state not in OPEN


class Answer(StrEnum):
    """What a submit came to, as far as the ledger cares."""

    ACCEPTED = "accepted"
    ALREADY_SEEN = "already_seen"
    NOT_SENT = "not_sent"
    AMBIGUOUS = "ambiguous"
    RECIPIENT_REFUSED = "recipient_refused"
    OUR_FAULT = "our_fault"


def client_ref(message_id: str, attempt: int) -> str:
    """Return the provider's idempotency key of an attempt."""
    return f"{message_id}-{attempt}"


def is_doubtful(entry: Entry, incarnation: str, now: float) -> bool:
    """Return whether a claim was left behind: its lease has lapsed, or it is ours and nobody works on it."""
    if entry.state is State.IN_DOUBT:
        return True
    ours = entry.holder is not None and entry.holder.startswith(incarnation)
    return entry.state is State.CLAIMED and (ours or (entry.lease_until or 0.0) <= now)


def may_ask_again(entry: Entry, ref_life_s: float, now: float) -> bool:
    """Return whether the provider still knows this attempt's key, so that asking again cannot text twice."""
    return ref_life_s > 0 and entry.ref_since is not None and now - entry.ref_since < ref_life_s


def claim(entry: Entry, holder: str, account: str, now: float, lease_s: float) -> Entry:
    """Return *entry* claimed by *holder*; a doubtful one keeps its n, and stays ambiguous."""
    keeps = entry.reuse or entry.state in (State.IN_DOUBT, State.CLAIMED)
    return replace(
        entry,
        state=State.CLAIMED,
        attempt=entry.attempt if keeps else entry.attempt + 1,
        reuse=False,
        holder=holder,
        account=account,
        lease_until=now + lease_s,
        ref_since=entry.ref_since if keeps and entry.ref_since is not None else now,
        ambiguous=entry.ambiguous or entry.state in (State.IN_DOUBT, State.CLAIMED),
    )


def settle(entry: Entry, holder: str, answer: Answer, *, burns: bool = False, final: bool = False) -> Entry | None:
    """
    Return *entry* after the provider's answer, or None if the claim is no longer *holder*'s.

    Args:
        entry: The row as it now is.
        holder: Who claimed it; compare and set.
        answer: What the submit came to.
        burns: The provider remembers refused keys too, so "already seen" proves nothing.
        final: It says the same however often it is asked: what was in doubt before cannot be known any more.
    """
    if entry.state is not State.CLAIMED or entry.holder != holder:
        return None
    free = replace(entry, holder=None, lease_until=None)
    match answer:
        case Answer.ACCEPTED:
            return replace(free, state=State.SENT)
        case Answer.ALREADY_SEEN:
            return replace(free, state=State.SENT if entry.ambiguous and not burns else State.UNKNOWN)
        case Answer.AMBIGUOUS:
            return replace(free, state=State.IN_DOUBT, ambiguous=True)
    if entry.ambiguous:  # this answer says nothing of the earlier attempt under the same key
        return replace(free, state=State.UNKNOWN if final else State.IN_DOUBT)
    match answer:
        case Answer.NOT_SENT:
            return replace(free, state=State.RELEASED, reuse=True)
        case Answer.RECIPIENT_REFUSED:
            return replace(free, state=State.REJECTED)
        case _:
            return replace(free, state=State.RELEASED)


def defer(entry: Entry, step: int) -> Entry:
    """Return *entry* waiting, so that copies up to *step* are done; what is in doubt stays in doubt."""
    doubtful = entry.state in (State.IN_DOUBT, State.CLAIMED)
    return replace(
        entry,
        state=State.IN_DOUBT if doubtful else State.RELEASED,
        ambiguous=entry.ambiguous or doubtful,
        holder=None,
        lease_until=None,
        step=step + 1,
    )


def give_up_on(entry: Entry) -> Entry:
    """Return *entry* with the attempt in doubt given up: the next one has a new key, and may be a second text."""
    return replace(entry, state=State.RELEASED, reuse=False, ambiguous=False, ref_since=None, given_up=True)


def reopen(entry: Entry) -> Entry | None:
    """
    Return *entry* open again, at its next step, or None if it may not be.

    Only what the ledger proves was never handed over: suppressed, or refused by the provider, and at no time in doubt.
    """
    if entry.state not in (State.SUPPRESSED, State.REJECTED) or entry.ambiguous or entry.given_up:
        return None
    return replace(entry, state=State.RELEASED, reuse=False, outcome=None, step=entry.step + 1)


def conclude(entry: Entry, kind: OutcomeKind) -> tuple[Entry, OutcomeKind]:
    """Return *entry* ended as *kind*; what is in doubt ends as `unknown`, whatever was to be said of it."""
    kind = OutcomeKind.UNKNOWN if entry.state in (State.IN_DOUBT, State.CLAIMED) else kind
    return replace(entry, state=STATE_OF[kind], holder=None, lease_until=None), kind
