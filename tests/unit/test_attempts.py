"""One attempt: start in time or not at all."""

import time

import pytest

from tests.builders import account
from tests.fakes import ManualClock
from worker.clock import SystemClock
from worker.delivery.attempts import Attempts
from worker.delivery.asks import Claimed
from worker.delivery.ledger import Answer
from worker.delivery.verdicts import ProviderReason, Sms, Submitted

SMS = Sms("+33612345678", "text", "SHOP", marketing=False)


class Provider:
    """Answers as told, and notes what it was asked."""

    name = "fake"

    def __init__(self, *submitted: Submitted) -> None:
        self.submitted = list(submitted)
        self.refs: list[str] = []

    async def send(self, sms: Sms, ref: str) -> Submitted:
        self.refs.append(ref)
        return self.submitted.pop(0) if len(self.submitted) > 1 else self.submitted[0]


def attempts(clock: ManualClock, *submitted: Submitted, holds: list) -> Attempts:
    async def hold(name: str, seconds: float, reason: str) -> None:
        holds.append((name, seconds, reason))

    return Attempts("a", account(http_deadline_s=5), Provider(*submitted), clock, hold)


async def test_a_process_that_froze_between_the_fence_and_the_call_sends_nothing() -> None:
    clock, holds = ManualClock(), []
    its = attempts(clock, Submitted(answer=Answer.ACCEPTED), holds=holds)
    claimed = Claimed(1, "me:1", asked_at=0.0)

    clock.seconds = 9.99  # the lease is 20, the deadline 5, the margin 5
    in_time = await its.submit("m-1", claimed, SMS)
    clock.seconds = 10.0
    late = await its.submit("m-1", claimed, SMS)

    assert in_time.answer is Answer.ACCEPTED
    assert (late.answer, late.reason) == (Answer.NOT_SENT, ProviderReason.TOO_LATE_TO_START)
    assert its.provider.refs == ["m-1-1"]
    assert holds == []


@pytest.mark.parametrize(
    ("moved_s", "sent"), [(3600.0, False), (262.0, False), (-3600.0, True), (-262.0, True), (1.0, True)]
)
async def test_a_machine_that_was_paused_or_whose_clock_moved_on_sends_nothing_late(moved_s: float, sent: bool) -> None:
    """Its monotonic clock stood still meanwhile, and its claim may be another's by now."""
    its = attempts(ManualClock(), Submitted(answer=Answer.ACCEPTED), holds=[])

    await its.submit("m-1", Claimed(1, "me:1", asked_at=0.0, asked_wall=time.time() - moved_s), SMS)

    assert bool(its.provider.refs) is sent


def test_durations_go_on_while_the_host_is_suspended(monkeypatch) -> None:
    monkeypatch.setattr(time, "clock_gettime", {time.CLOCK_BOOTTIME: 77.0}.__getitem__)

    assert SystemClock().monotonic() == 77.0


async def test_an_account_that_must_rest_is_held_for_everybody() -> None:
    holds: list = []
    refusal = Submitted(answer=Answer.NOT_SENT, reason=ProviderReason.RATE_LIMITED, hold_s=7.0)

    await attempts(ManualClock(), refusal, holds=holds).submit("m-1", Claimed(2, "me:1"), SMS)

    assert holds == [("a", 7.0, ProviderReason.RATE_LIMITED)]


REFUSED = Submitted(answer=Answer.NOT_SENT, reason=ProviderReason.CONNECT_FAILED)
ACCEPTED = Submitted(answer=Answer.ACCEPTED)


async def test_a_connection_that_is_refused_is_tried_once_more_under_the_same_key_before_anybody_rests() -> None:
    holds: list = []
    its = attempts(ManualClock(), REFUSED, ACCEPTED, holds=holds)
    down = attempts(ManualClock(), REFUSED, holds=holds)

    one = await its.submit("m-1", Claimed(1, "me:1"), SMS)
    two = await down.submit("m-2", Claimed(1, "me:2"), SMS)

    assert (one.answer, its.provider.refs) == (Answer.ACCEPTED, ["m-1-1", "m-1-1"])
    assert (two.answer, len(down.provider.refs)) == (Answer.NOT_SENT, 2)
    assert len(holds) == 1
    assert two.hold_s is not None


async def test_only_what_surely_sent_nothing_is_tried_again_in_place() -> None:
    for answer in (
        Submitted(answer=Answer.AMBIGUOUS, reason=ProviderReason.TIMED_OUT),
        Submitted(answer=Answer.NOT_SENT, reason=ProviderReason.RATE_LIMITED, hold_s=1.0),
        Submitted(answer=Answer.OUR_FAULT, reason=ProviderReason.NO_CREDIT, hold_s=60.0),
    ):
        its = attempts(ManualClock(), answer, holds=[])
        await its.submit("m-1", Claimed(1, "me:1"), SMS)
        assert its.provider.refs == ["m-1-1"]


async def test_the_second_try_begins_within_the_start_window_or_not_at_all() -> None:
    clock = ManualClock()
    clock.seconds = 9.99
    its = attempts(clock, REFUSED, ACCEPTED, holds=[])

    late = await its.submit("m-1", Claimed(1, "me:1", asked_at=0.0), SMS)

    assert late.reason is ProviderReason.TOO_LATE_TO_START
    assert its.provider.refs == ["m-1-1"]


async def test_the_breaker_is_open_while_a_provider_only_fails_and_while_it_is_tried_at_all() -> None:
    clock, timed_out = ManualClock(), Submitted(answer=Answer.AMBIGUOUS, reason=ProviderReason.TIMED_OUT)
    accepted = Submitted(answer=Answer.ACCEPTED, reason=ProviderReason.OK)
    its = attempts(clock, *[timed_out] * 6, accepted, holds=[])

    async def submit(number: int) -> bool:
        await its.submit(f"m-{number}", Claimed(1, "me", asked_at=clock.monotonic()), SMS)
        return its.breaker_open

    opened = [await submit(number) for number in range(6)]
    await clock.sleep(30)
    still = its.breaker_open  # a hold and a deadline may pass between two tries
    await clock.sleep(30)
    silent = its.breaker_open  # nothing is left to send: nobody need be woken for it
    closed = await submit(7)

    assert opened == [False] * 4 + [True] * 2
    assert (still, silent, closed) == (True, False, False)
