"""What the fence decides: rate, order of lanes, requests in flight, consent, and who was first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.messages import Lane
from schemas.outcomes import OutcomeKind
from tests.builders import account, ask, view
from worker.delivery.asks import Busy, Claimed, IdReused, Settled, Wait
from worker.delivery.fence import decide, in_order
from worker.delivery.ledger import Entry, State
from worker.policy.rules import CustomerRule
from worker.policy.consent import Act, DatedAct, Suppression
from worker.policy.verdicts import Reason, suppress

MARKETING = {"lane": Lane.MARKETING, "purpose": "offers"}
GRANTED = {"p-1": [DatedAct(Act.GRANTED, "offers", 10.0)]}


def decided(*asks, **read):
    its = read.pop("account", account())
    return decide(in_order(asks), view(**read), "account", its, "me", 60.0)


def entry(state: State, **changes) -> Entry:
    return Entry(message_id="m-1", fingerprint="f1", state=state, attempt=1, **changes)


def test_a_message_that_nothing_speaks_against_is_claimed_and_costs_its_segments() -> None:
    decision = decided(ask(segments=3))

    assert decision.replies == [Claimed(1, "me:m-1")]
    assert decision.tokens == 7.0
    (row,) = decision.entries
    assert (row.state, row.attempt, row.holder, row.lease_until) == (State.CLAIMED, 1, "me:m-1", 1020.0)


def test_urgent_goes_before_transactional_before_marketing_then_by_age() -> None:
    asks = [
        ask("old offer", **MARKETING, queued_at=0.0),
        ask("order", queued_at=2.0),
        ask("older order", queued_at=1.0),
        ask("code", lane=Lane.URGENT, queued_at=9.0),
    ]

    assert [one.message_id for one in in_order(asks)] == ["code", "older order", "order", "old offer"]


@pytest.mark.parametrize(
    ("lane", "tokens", "goes"),
    [
        (Lane.MARKETING, 3.9, False), (Lane.MARKETING, 4.0, True),  # leaves 30 % of 10
        (Lane.TRANSACTIONAL, 1.9, False), (Lane.TRANSACTIONAL, 2.0, True),  # leaves 10 %
        (Lane.URGENT, 0.9, False), (Lane.URGENT, 1.0, True),
    ],
)  # fmt: skip
def test_each_lane_leaves_tokens_to_those_before_it(lane: Lane, tokens: float, goes: bool) -> None:
    its = ask(lane=lane, purpose="offers" if lane is Lane.MARKETING else None)

    (reply,) = decided(its, tokens=tokens, acts=GRANTED).replies

    assert isinstance(reply, Claimed) is goes
    if not goes:
        assert reply.why == "rate"
        assert reply.retry_in_s == pytest.approx(0.01)  # a tenth of a token at 10 a second


def test_urgent_may_go_into_debt_by_one_message() -> None:
    assert decided(ask(lane=Lane.URGENT, segments=3), tokens=1.0).tokens == -2.0


def test_a_text_longer_than_the_bucket_goes_when_the_bucket_is_full() -> None:
    decision = decided(ask(segments=8), tokens=5.0, account=account(segments_per_second=5))

    assert isinstance(decision.replies[0], Claimed)
    assert decision.tokens == -3.0


def test_who_comes_later_never_passes_who_waits_for_tokens() -> None:
    replies = decided(ask("long", segments=6, queued_at=0), ask("short", queued_at=1), tokens=5.0).replies

    assert [type(reply) for reply in replies] == [Wait, Wait]


def test_a_refusal_neither_waits_for_tokens_nor_takes_any() -> None:
    decision = decided(ask(verdict=suppress(Reason.INVALID_NUMBER)), tokens=0.0)

    assert decision.replies == [Settled(b"suppressed:invalid_number")]
    assert decision.tokens == 0.0


def test_requests_in_flight_of_every_process_count() -> None:
    replies = decided(ask("a"), ask("b"), live_claims=1, account=account(max_in_flight=2)).replies

    assert isinstance(replies[0], Claimed)
    assert replies[1] == Wait(0.05, "in_flight")


def test_a_held_account_lets_nothing_through() -> None:
    assert decided(ask(), held_until=1003.0).replies == [Wait(3.0, "held")]


@pytest.mark.parametrize(
    ("value", "holds"),
    [(3, True), (0.5, True), (True, True), (0, False), (False, False), ("yes", False), (None, False)],
)
def test_only_who_bought_is_a_customer(value, holds) -> None:
    rule = CustomerRule(attribute="orders_total", purposes={"offers"})

    assert rule.holds("offers", {"orders_total": value}) == holds
    assert not rule.holds("invitations", {"orders_total": value})


@pytest.mark.parametrize(
    ("acts", "suppressed", "goes"),
    [
        pytest.param([], (), True, id="a customer who was never asked"),
        pytest.param([("granted", "invitations", 1)], (), True, id="agreed to something else"),
        pytest.param([("revoked", "*", 1)], (), False, id="objected"),
        pytest.param([("revoked", "offers", 1)], (), False, id="objected to this"),
        pytest.param([("revoked", "invitations", 1)], (), True, id="objected to something else"),
        pytest.param([("erased", "*", 1)], (), False, id="was forgotten"),
        pytest.param([("blocked", "*", 1)], (), False, id="wants no text at all"),
        pytest.param([("granted", "offers", 1), ("revoked", "offers", 2)], (), False, id="agreed and withdrew"),
        pytest.param([], (Suppression("marketing", "stop", 1.0),), False, id="said STOP"),
    ],
)
def test_a_customer_needs_no_opt_in_but_any_objection_counts(acts, suppressed, goes) -> None:
    dated = {"p-1": [DatedAct(Act(act), purpose, at) for act, purpose, at in acts]}
    one = ask(purpose="offers", lane=Lane.MARKETING, is_customer=True)

    (reply,) = decide(
        [one], view(acts=dated, suppressions={"p-1": suppressed}), "account", account(), "me", 60.0
    ).replies

    assert isinstance(reply, Claimed) == goes
    if goes:
        assert reply.verdict.basis == "existing_customer"


def test_marketing_waits_while_consent_is_not_known_late_enough() -> None:
    its = ask(**MARKETING)

    assert decided(its, acts=GRANTED, projection_age_s=61.0).replies == [Wait(1.0, "projection")]
    assert decided(its, acts=GRANTED, projection_age_s=None).replies == [Wait(1.0, "projection")]
    assert isinstance(decided(ask(), projection_age_s=None).replies[0], Claimed)


@pytest.mark.parametrize(
    ("acts", "suppressions", "purpose", "reason"),
    [
        pytest.param([], [], "offers", "no_consent", id="never asked"),
        pytest.param([("granted", "invitations", 1)], [], "offers", "no_consent", id="agreed to something else"),
        pytest.param([("granted", "offers", 1), ("revoked", "offers", 2)], [], "offers", "consent_revoked", id="withdrawn"),
        pytest.param([("granted", "offers", 1), ("revoked", "*", 2)], [], "offers", "consent_revoked", id="withdrawn as a whole"),
        pytest.param([("granted", "offers", 2), ("revoked", "*", 2)], [], "offers", "consent_revoked", id="a tie goes to the withdrawal"),
        pytest.param([("granted", "offers", 3), ("revoked", "*", 2)], [], "offers", None, id="agreed anew"),
        pytest.param([("granted", "offers", 1), ("revoked", "invitations", 2)], [], "offers", None, id="withdrew something else"),
        pytest.param([("blocked", "*", 2)], [], None, "blocked", id="a full block stops transactional texts"),
        pytest.param([("revoked", "*", 2)], [], None, None, id="a STOP does not"),
        pytest.param([("granted", "offers", 1), ("blocked", "*", 2)], [], "offers", "blocked", id="and marketing"),
        pytest.param([("granted", "offers", 1)], [("marketing", "stop", 2)], "offers", "suppressed", id="on the STOP list"),
        pytest.param([("granted", "offers", 2)], [("marketing", "stop", 2)], "offers", "suppressed", id="at the same time: STOP"),
        pytest.param([("granted", "offers", 3)], [("marketing", "stop", 2)], "offers", None, id="agreed after the STOP"),
        pytest.param([("granted", "invitations", 3)], [("marketing", "stop", 2)], "offers", "suppressed", id="to something else"),
        pytest.param([("granted", "offers", 3)], [("marketing", "complaint", 2)], "offers", "suppressed", id="a complaint stands"),
        pytest.param([("granted", "offers", 3)], [("marketing", "manual", 2)], "offers", "suppressed", id="and an operator's word"),
        pytest.param([("granted", "offers", 3)], [("everything", "dead_number", 2)], "offers", "dead_number", id="a dead number"),
        pytest.param([], [("everything", "dead_number", 2)], None, "dead_number", id="whatever is to be sent there"),
        pytest.param([], [("marketing", "stop", 2)], None, None, id="the STOP list covers marketing"),
        pytest.param([], [("everything", "manual", 2)], None, "blocked", id="suppressed whole"),
    ],
)  # fmt: skip
def test_consent_decides_in_the_fence(acts, suppressions, purpose, reason) -> None:
    its = ask(purpose=purpose, lane=Lane.MARKETING if purpose else Lane.TRANSACTIONAL)
    read = {"p-1": [DatedAct(Act(act), what, at) for act, what, at in acts]}
    listed = {"p-1": [Suppression(scope, why, at) for scope, why, at in suppressions]}

    (reply,) = decided(its, acts=read, suppressions=listed).replies

    assert reply == (Settled(f"suppressed:{reason}".encode()) if reason else Claimed(1, "me:m-1"))


ACTS = st.lists(
    st.tuples(st.sampled_from(["granted", "revoked"]), st.sampled_from(["offers", "*"]), st.integers(0, 5)), max_size=8
)


@given(ACTS, st.randoms())
def test_the_order_of_arrival_never_matters_and_a_late_grant_never_overrules(acts, random) -> None:
    acts = [(act, "offers" if act == "granted" else what, at) for act, what, at in acts]
    turned = random.sample(acts, len(acts))

    first, second = (
        decided(ask(**MARKETING), acts={"p-1": [DatedAct(Act(a), w, t) for a, w, t in its]}).replies[0]
        for its in (acts, turned)
    )

    assert first == second
    granted = max((at for act, _, at in acts if act == "granted"), default=None)
    revoked = max((at for act, _, at in acts if act == "revoked"), default=-1)
    assert isinstance(first, Claimed) is (granted is not None and granted > revoked)


def test_late_is_never() -> None:
    assert decided(ask(expires_at=1000.0)).replies == [Settled(b"expired:expired")]


def test_what_is_settled_is_said_again_as_it_was() -> None:
    settled = entry(State.SENT, outcome=b"stored")

    decision = decided(ask(verdict=suppress(Reason.INVALID_NUMBER)), entries={"m-1": settled}, tokens=0.0)

    assert decision.replies == [Settled(b"stored")]
    assert decision.entries == []


def test_another_process_s_claim_is_left_alone_until_its_lease_lapses() -> None:
    claimed = entry(State.CLAIMED, holder="other:1", lease_until=1007.0, ref_since=999.0)

    assert decided(ask(), entries={"m-1": claimed}).replies == [Busy(7.0)]


def test_a_lapsed_claim_is_asked_again_under_the_same_key_while_the_provider_knows_it() -> None:
    lapsed = entry(State.CLAIMED, holder="other:1", lease_until=999.0, ref_since=990.0, account="account")

    decision = decided(ask(), entries={"m-1": lapsed})

    assert decision.replies == [Claimed(1, "me:m-1")]
    assert decision.entries[0].ambiguous


@pytest.mark.parametrize("hours", [0, 24])
def test_what_cannot_be_known_is_never_sent_again(hours: float) -> None:
    long_ago = entry(State.IN_DOUBT, ambiguous=True, ref_since=1000.0 - 23.5 * 3600, account="account")

    decision = decided(ask(), entries={"m-1": long_ago}, account=account(idempotency_h=hours))

    assert decision.replies == [Settled(b"unknown:in_doubt")]
    assert decision.entries[0].state is State.UNKNOWN


def test_a_stop_that_comes_while_in_doubt_ends_as_unknown() -> None:
    doubtful = entry(State.IN_DOUBT, ambiguous=True, ref_since=999.0, account="account")

    assert decided(ask(**MARKETING), entries={"m-1": doubtful}).replies == [Settled(b"unknown:in_doubt")]


def test_a_repeated_ask_finds_its_own_claim() -> None:
    mine = entry(State.CLAIMED, holder="me:m-1", lease_until=1007.0)

    assert decided(ask(), entries={"m-1": mine}).replies == [Claimed(1, "me:m-1")]


def test_an_event_id_used_twice_is_said() -> None:
    assert decided(ask(fingerprint="f2"), entries={"m-1": entry(State.SENT, outcome=b"x")}).replies == [IdReused()]


def test_after_a_refusal_the_key_is_new_and_after_nothing_sent_it_is_the_same() -> None:
    refused, unsent = entry(State.RELEASED), entry(State.RELEASED, reuse=True)

    assert decided(ask(), entries={"m-1": refused}).replies == [Claimed(2, "me:m-1")]
    assert decided(ask(), entries={"m-1": unsent}).replies == [Claimed(1, "me:m-1")]


@given(st.lists(st.tuples(st.sampled_from(list(Lane)), st.integers(1, 8), st.floats(0, 0.5)), min_size=1, max_size=150))
def test_the_rate_is_never_exceeded_in_any_window(steps) -> None:
    """However messages arrive: within any 5 seconds at most the rate's segments and one bucket, and one message of debt."""
    its, now, tokens, refilled, sent = account(segments_per_second=20, max_in_flight=10_000), 1000.0, 0.0, 1000.0, []
    for number, (lane, segments, pause) in enumerate(steps):
        now += pause
        one = ask(f"m{number}", lane=lane, segments=segments, purpose="offers" if lane is Lane.MARKETING else None)
        read = view(now=now, tokens=tokens, refilled_at=refilled, acts=GRANTED)
        decision = decide([one], read, "account", its, "me", 60.0)
        tokens, refilled = decision.tokens, now
        if isinstance(decision.replies[0], Claimed):
            sent.append((now, segments))

    for start, _ in sent:
        assert sum(segments for at, segments in sent if start <= at < start + 5) <= 5 * 20 + 20 + 8


def test_an_outcome_of_the_fence_is_stored_before_it_is_said() -> None:
    decision = decided(ask(verdict=suppress(Reason.NOT_MOBILE)))

    assert decision.entries[0].outcome == b"suppressed:not_mobile"
    assert decision.entries[0].state is State.SUPPRESSED
    assert OutcomeKind.SUPPRESSED == "suppressed"


def test_what_is_in_doubt_at_one_account_is_never_asked_at_another() -> None:
    doubtful = entry(State.IN_DOUBT, ambiguous=True, ref_since=999.0, account="the one before")

    assert decided(ask(), entries={"m-1": doubtful}).replies == [Settled(b"unknown:in_doubt")]


def test_the_same_message_twice_in_a_batch_is_claimed_once() -> None:
    replies = decided(ask(holder="me:1"), ask(holder="other:2", queued_at=1)).replies

    assert isinstance(replies[0], Claimed)
    assert isinstance(replies[1], Busy)


@pytest.mark.parametrize(
    ("lane", "live", "goes"),
    [(Lane.TRANSACTIONAL, 1, False), (Lane.TRANSACTIONAL, 0, True), (Lane.URGENT, 1, True), (Lane.URGENT, 2, False)],
)
def test_one_request_of_two_is_kept_for_the_urgent_lane(lane: Lane, live: int, goes: bool) -> None:
    decision = decide(
        [ask(lane=lane)], view(live_claims=live), "account", account(max_in_flight=2), "me", 60.0, serves_urgent=True
    )

    assert isinstance(decision.replies[0], Claimed) is goes


def test_an_account_without_an_urgent_lane_keeps_nothing_back() -> None:
    assert isinstance(decided(ask(), live_claims=1, account=account(max_in_flight=2)).replies[0], Claimed)


def test_what_an_operator_put_back_goes_after_the_live_messages_of_its_lane() -> None:
    asks = [ask("put back", replayed=True, queued_at=0.0), ask("live", queued_at=5.0), ask("code", lane=Lane.URGENT)]

    assert [one.message_id for one in in_order(asks)] == ["code", "live", "put back"]


@pytest.mark.parametrize(("resend", "reply"), [(False, Settled(b"unknown:in_doubt")), (True, Claimed(2, "me:m-1"))])
def test_what_may_have_been_sent_is_sent_again_only_if_its_template_says_so(resend: bool, reply) -> None:
    doubtful = entry(State.IN_DOUBT, ambiguous=True, account="account", ref_since=1.0)

    decision = decided(ask(resend=resend), entries={"m-1": doubtful}, account=account(idempotency_h=0))

    assert decision.replies == [reply]
    assert decision.entries[0].ambiguous is (not resend)


def test_while_the_provider_knows_the_key_it_is_asked_under_it_whatever_the_template_says() -> None:
    doubtful = entry(State.IN_DOUBT, ambiguous=True, account="account", ref_since=999.0)

    (reply,) = decided(ask(resend=True), entries={"m-1": doubtful}, account=account(idempotency_h=24)).replies

    assert reply == Claimed(1, "me:m-1")
