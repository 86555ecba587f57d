"""One attempt: start in time or not at all."""

from tests.builders import account
from tests.fakes import ManualClock
from worker.delivery.attempts import Attempts
from worker.delivery.fence import Claimed
from worker.delivery.ledger import Answer
from worker.delivery.verdicts import ProviderReason, Sms, Submitted

SMS = Sms("+33612345678", "text", "SHOP", marketing=False)


class Provider:
    """Answers as told, and notes what it was asked."""

    name = "fake"

    def __init__(self, submitted: Submitted) -> None:
        self.submitted = submitted
        self.refs: list[str] = []

    async def send(self, sms: Sms, ref: str) -> Submitted:
        self.refs.append(ref)
        return self.submitted


def attempts(clock: ManualClock, submitted: Submitted, holds: list) -> Attempts:
    async def hold(name: str, seconds: float, reason: str) -> None:
        holds.append((name, seconds, reason))

    return Attempts("a", account(http_deadline_s=5), Provider(submitted), clock, hold)


async def test_a_process_that_froze_between_the_fence_and_the_call_sends_nothing() -> None:
    clock, holds = ManualClock(), []
    its = attempts(clock, Submitted(answer=Answer.ACCEPTED), holds)
    claimed = Claimed(1, "me:1", asked_at=0.0)

    clock.seconds = 9.99  # the lease is 20, the deadline 5, the margin 5
    in_time = await its.submit("m-1", claimed, SMS)
    clock.seconds = 10.0
    late = await its.submit("m-1", claimed, SMS)

    assert in_time.answer is Answer.ACCEPTED
    assert (late.answer, late.reason) == (Answer.NOT_SENT, ProviderReason.TOO_LATE_TO_START)
    assert its.provider.refs == ["m-1-1"]
    assert holds == []


async def test_an_account_that_must_rest_is_held_for_everybody() -> None:
    holds: list = []
    refusal = Submitted(answer=Answer.NOT_SENT, reason=ProviderReason.RATE_LIMITED, hold_s=7.0)

    await attempts(ManualClock(), refusal, holds).submit("m-1", Claimed(2, "me:1"), SMS)

    assert holds == [("a", 7.0, ProviderReason.RATE_LIMITED)]
