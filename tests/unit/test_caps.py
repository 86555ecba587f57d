"""How often a number may be texted."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from schemas.messages import Lane
from tests.builders import account, ask, view
from worker.delivery.asks import Claimed, Deferred, Settled
from worker.delivery.fence import decide
from worker.policy.caps import Cap, Counted, caps_of, free_at
from worker.policy.consent import Act, DatedAct
from worker.policy.rules import CapRule

DAY = 86_400.0
MARKETING = (Cap("marketing:", 1, DAY), Cap("marketing:", 2, 7 * DAY))
GRANTED = {"p-1": [DatedAct(Act.GRANTED, "offers", 1.0)]}


def offer(message_id: str = "m-1", **changes):
    base = {
        "lane": Lane.MARKETING, "purpose": "offers", "scope": "marketing:offers:", "caps": MARKETING,
        "deferral": lambda until: (message_id, until),
    }  # fmt: skip
    return ask(message_id, **{**base, **changes})


def decided(*asks, counted=(), now: float = 10 * DAY, **changes):
    its = view(now=now, refilled_at=now, tokens=100.0, acts=GRANTED, counted={"p-1": list(counted)}, **changes)
    return decide(asks, its, "a", account(burst=100), "me", 60.0)


def test_the_second_offer_of_a_day_is_suppressed() -> None:
    decision = decided(offer(), counted=[Counted("other", "marketing:invitations:", 10 * DAY - 3600)])

    assert isinstance(decision.replies[0], Settled)
    assert decision.replies[0].payload == b"suppressed:cap_reached"


def test_the_third_of_a_week_too_and_the_day_after_it_may_go() -> None:
    week = [Counted("a", "marketing:offers:", 4 * DAY), Counted("b", "marketing:offers:", 6 * DAY)]

    assert isinstance(decided(offer(), counted=week).replies[0], Settled)
    assert isinstance(decided(offer(), counted=week, now=11 * DAY + 1).replies[0], Claimed)


def test_a_template_may_rather_wait_and_is_told_until_when() -> None:
    at = 10 * DAY - 3600
    decision = decided(offer(defers_over_cap=True), counted=[Counted("other", "marketing:offers:", at)])

    assert isinstance(decision.replies[0], Deferred)
    (message_id, until), *_ = decision.deferrals
    assert (message_id, until.until.timestamp()) == ("m-1", at + DAY)
    soon = decided(offer(defers_over_cap=True, expires_at=at + 60), counted=[Counted("other", "marketing:offers:", at)])
    assert not soon.deferrals


def test_two_offers_of_one_batch_are_two() -> None:
    replies = decided(offer("m-1"), offer("m-2")).replies

    assert isinstance(replies[0], Claimed)
    assert replies[1].payload == b"suppressed:cap_reached"


def test_a_message_in_doubt_does_not_stand_in_its_own_way() -> None:
    assert isinstance(decided(offer(), counted=[Counted("m-1", "marketing:offers:", 10 * DAY - 5)]).replies[0], Claimed)


def test_transactional_texts_count_by_template_and_not_against_offers() -> None:
    its = ask("t-1", scope="transactional:otp_code:", caps=(Cap("transactional:otp_code:", 2, DAY),))
    counted = [Counted(f"o-{n}", "transactional:order_shipped:", 10 * DAY - 5) for n in range(9)]

    assert isinstance(decided(its, counted=counted).replies[0], Claimed)
    assert isinstance(decided(offer(), counted=counted).replies[0], Claimed)
    codes = [Counted(f"c-{n}", "transactional:otp_code:", 10 * DAY - 5) for n in range(2)]
    assert decided(its, counted=codes).replies[0].payload == b"suppressed:cap_reached"


def test_a_text_that_waited_past_closing_time_does_not_go() -> None:
    from worker.policy.verdicts import Reason, suppress

    its = offer(closes_at=10 * DAY - 1, afterwards=suppress(Reason.OUTSIDE_HOURS))

    assert decided(its).replies[0].payload == b"suppressed:outside_hours"
    soon = offer(closes_at=10 * DAY + 5, afterwards=suppress(Reason.OUTSIDE_HOURS))  # its request might start too late
    assert decided(soon).replies[0].payload == b"suppressed:outside_hours"
    assert isinstance(
        decided(offer(closes_at=10 * DAY + 60, afterwards=suppress(Reason.OUTSIDE_HOURS))).replies[0], Claimed
    )


@given(st.lists(st.floats(0, 20 * DAY), max_size=12), st.integers(1, 3), st.integers(1, 9))
def test_with_whatever_went_before_no_stretch_of_time_has_more_than_its_cap(times, most, days) -> None:
    cap = Cap("marketing:", most, days * DAY)
    sent: list[float] = []
    for number, now in enumerate(sorted(times)):
        counted = [Counted(str(n), "marketing:offers:", at) for n, at in enumerate(sent)]
        free = free_at([cap], counted, f"new-{number}", now)
        if free is None:
            sent.append(now)
        else:
            later = free_at([cap], counted, f"new-{number}", free)
            assert later is None or later - free < 1e-6
            assert free_at([cap], counted, f"new-{number}", free - 1) is not None
    for start in sent:
        assert sum(start <= at < start + cap.seconds for at in sent) <= most


def test_rules_become_caps_over_their_scope() -> None:
    assert caps_of("marketing:", [CapRule(most=2, per=timedelta(days=7))]) == (Cap("marketing:", 2, 7 * DAY),)
