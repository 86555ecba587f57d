"""
The fence: what its one transaction decides, as a pure function of what the transaction read.

In order, for a batch sorted by lane and age: what is settled already, or was deferred; what must be refused or deferred;
then, while the account is not held, has tokens above the lane's threshold and requests to spare, the claim. Everything
else waits.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from schemas.messages import Lane
from schemas.outcomes import OutcomeKind
from worker.delivery.accounts import Account
from worker.delivery.asks import Ask, Busy, Claimed, Deferred, IdReused, Reply, Settled, Wait
from worker.delivery.deferrals import Deferral
from worker.delivery.gate import Gate
from worker.delivery.ledger import Entry, State, claim, conclude, defer, give_up_on, is_doubtful, may_ask_again
from worker.delivery.superseding import is_superseded
from worker.delivery.watching import Watch
from worker.policy.budget import Budget
from worker.policy.caps import Counted, free_at
from worker.policy.consent import DatedAct, Suppression, check_consent
from worker.policy.guard import Lately
from worker.policy.verdicts import Defer, Reason, Refuse, Send, Verdict, suppress

NOTHING_LATELY = Lately({}, {}, {})
PRIORITY = {lane: place for place, lane in enumerate(Lane)}


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """
    What the transaction read, under its locks. Times are the database's seconds since 1970.

    Attributes:
        tokens: In the bucket at *refilled_at*; may be negative after a long text.
        live_claims: Claims of this account within their lease, of every process.
        projection_age_s: How old the knowledge of consent is; None if nothing was ever projected.
        seen: When events that routes name under `unless` happened last, by their keyed hash.
        counted: What each number got lately, or may have got.
        cancelled: When operators took campaigns, routes and messages back.
        lately: What the abuse guard judges by.
        spent: What tallies of money have come to.
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
    seen: Mapping[str, float] = field(default_factory=dict)
    counted: Mapping[str, Sequence[Counted]] = field(default_factory=dict)
    cancelled: Mapping[str, float] = field(default_factory=dict)
    lately: Lately = NOTHING_LATELY
    spent: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """
    What the transaction writes, and answers.

    Attributes:
        tokens: Left in the bucket, refilled up to the view's now.
        replies: In the order of the asks.
        entries: Rows to write.
        deferrals: What waits from now on; written with its row or not at all.
        watch: What the abuse guard found, and which codes go.
        spent: What is added to tallies of money.
    """

    tokens: float
    replies: list[Reply]
    entries: list[Entry] = field(default_factory=list)
    deferrals: list[Deferral] = field(default_factory=list)
    watch: Watch = field(default_factory=lambda: Watch(NOTHING_LATELY, 0.0))
    spent: Mapping[str, float] = field(default_factory=dict)


def in_order(asks: Iterable[Ask]) -> list[Ask]:
    """Return *asks* by lane, what was replayed last, then by age."""
    return sorted(asks, key=lambda ask: (PRIORITY[ask.lane], ask.replayed, ask.queued_at))


def decide(
    asks: Sequence[Ask],
    view: View,
    name: str,
    account: Account,
    incarnation: str,
    projection_max_age_s: float,
    *,
    serves_urgent: bool = False,
    budget: Budget | None = None,
) -> Decision:
    """Return what becomes of *asks*, which are in order, at the account called *name*, paid from *budget*."""
    gate = _gate(view, name, account, account.reserved_in_flight if serves_urgent else 0, budget)
    counted = {ask.person: list(view.counted.get(ask.person, ())) for ask in asks if ask.person is not None}
    view = replace(view, counted=counted)
    decision = Decision(0.0, [], watch=Watch(view.lately, view.now), spent=gate.added)
    entries = dict(view.entries)
    for ask in asks:
        entry = entries.get(ask.message_id)
        again = entry is not view.entries.get(ask.message_id)  # decided on in this very batch
        reply = Busy(0.05) if again else _known(ask, entry, incarnation, view)
        if reply is None:
            reply, changed = _decide_one(ask, entry, view, gate, decision.watch, name, account, projection_max_age_s)
            entries |= {changed_entry.message_id: changed_entry for changed_entry in changed}
            decision.entries.extend(changed)
            if changed and isinstance(reply, Deferred) and reply.until is not None and ask.deferral:
                decision.deferrals.append(ask.deferral(reply.until))
            if isinstance(reply, Claimed) and ask.person and ask.limits.scope:
                counted[ask.person].append(
                    Counted(ask.message_id, ask.limits.scope, view.now)
                )  # the next one must see it
        decision.replies.append(reply)
    return replace(decision, tokens=gate.tokens)


def _gate(view: View, name: str, account: Account, reserved: int, budget: Budget | None) -> Gate:
    elapsed = max(0.0, view.now - view.refilled_at)
    tokens = min(account.bucket, view.tokens + elapsed * account.segments_per_second)
    return Gate(account, name, view.now, tokens, view.held_until, view.live_claims, view.spent, reserved, budget)


def _known(ask: Ask, entry: Entry | None, incarnation: str, view: View) -> Reply | None:
    if entry is None:
        return None
    if entry.fingerprint != ask.fingerprint:
        return IdReused()
    if entry.is_settled:
        return Settled(entry.outcome or b"")
    if ask.step < entry.step:
        return Deferred(entry.outcome)
    if entry.state is not State.CLAIMED:
        return None
    if entry.holder == ask.holder:  # the answer to this very ask was lost on its way from the database
        verdict = verdict_of(ask, view, 0.0)  # only for the consent that stands in the outcome: it was claimed already
        return Claimed(entry.attempt, ask.holder, entry=entry, verdict=verdict if isinstance(verdict, Send) else None)
    return None if is_doubtful(entry, incarnation, view.now) else Busy((entry.lease_until or view.now) - view.now)


def _decide_one(
    ask: Ask, entry: Entry | None, view: View, gate: Gate, watch: Watch, name: str, account: Account, max_age_s: float
) -> tuple[Reply, list[Entry]]:
    before = entry or Entry(message_id=ask.message_id, fingerprint=ask.fingerprint, state=State.RELEASED)
    doubtful = before.state in (State.IN_DOUBT, State.CLAIMED)
    verdict = verdict_of(ask, view, account.start_window_s)
    is_new = before.claimed_at is None  # a code that is tried again is no other code
    if isinstance(verdict, Send) and is_new:
        verdict = watch.verdict(ask, view.counted.get(ask.person or "", ())) or verdict
    known_there = before.account == name and may_ask_again(before, account.ref_life_s, view.now)
    if doubtful and not known_there and ask.resend and not isinstance(verdict, Refuse):
        before, doubtful = give_up_on(before), False
    if isinstance(verdict, Refuse) or (doubtful and not known_there):
        kind, reason = (
            (verdict.kind, verdict.reason) if isinstance(verdict, Refuse) else (OutcomeKind.UNKNOWN, Reason.IN_DOUBT)
        )
        after, kind = conclude(before, kind)
        payload = ask.outcome(kind, Reason.IN_DOUBT if kind is OutcomeKind.UNKNOWN else reason, verdict)
        return Settled(payload), [replace(after, outcome=payload)]
    if isinstance(verdict, Defer):
        payload = ask.outcome(OutcomeKind.DEFERRED, verdict.reason, verdict)
        return Deferred(payload, verdict), [replace(defer(before, ask.step), outcome=payload)]
    if ask.purpose is not None and (view.projection_age_s is None or view.projection_age_s > max_age_s):
        return Wait(1.0, "projection"), []
    already = (before.reserved or 0.0) if doubtful else 0.0
    if (wait := gate.pass_through(ask, already)) is not None:
        return wait, []
    if is_new:
        watch.goes(ask)
    claimed = claim(before, ask.holder, name, view.now, account.lease_s)
    claimed = replace(claimed, reserved=gate.reserved(ask, already), claimed_at=view.now)
    if ask.person is not None and ask.limits.scope is not None:
        claimed = replace(claimed, person=ask.person, scope=ask.limits.scope)
    return Claimed(claimed.attempt, ask.holder, entry=claimed, verdict=verdict), [claimed]


def verdict_of(ask: Ask, view: View, start_window_s: float) -> Verdict:
    """Return whether *ask* may go at all; the ledger, and what its account can take, are another matter."""
    if isinstance(ask.verdict, Refuse):
        return ask.verdict
    if view.now >= ask.expires_at:
        return Refuse(OutcomeKind.EXPIRED, Reason.EXPIRED)
    if is_superseded(ask.unless, view.seen, ask.event_at):
        return Refuse(OutcomeKind.SUPERSEDED, Reason.SUPERSEDED)
    if any(view.cancelled.get(scope, float("-inf")) >= ask.event_at for scope in ask.limits.cancelled_by):
        return suppress(Reason.CANCELLED)
    if isinstance(ask.verdict, Defer):
        return ask.verdict
    if ask.person is None:
        return Send()
    acts, suppressions = view.acts.get(ask.person, ()), view.suppressions.get(ask.person, ())
    verdict = check_consent(acts, suppressions, ask.purpose, is_customer=ask.limits.is_customer)
    if isinstance(verdict, Refuse):
        return verdict
    if ask.limits.afterwards is not None and view.now + start_window_s >= (ask.limits.closes_at or 0.0):
        return ask.limits.afterwards  # it waited for its turn, and its request might start past closing time
    return _over_cap(ask, view) or verdict


def _over_cap(ask: Ask, view: View) -> Verdict | None:
    free = free_at(ask.limits.caps, view.counted.get(ask.person or "", ()), ask.message_id, view.now)
    if free is None:
        return None
    if not ask.limits.defers_over_cap or free >= ask.expires_at:
        return suppress(Reason.CAP_REACHED)
    return Defer(datetime.fromtimestamp(free, UTC), Reason.CAP_REACHED)
