"""A message that fails again and again: it ends, or waits in the database, and never keeps its partition for hours."""

import asyncio
import itertools
from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY

from schemas.messages import Lane
from schemas.outcomes import OutcomeKind
from tests.builders import NOW, account
from tests.fakes import ManualClock
from worker.delivery.attempts import Attempts
from worker.delivery.fence import View, decide
from worker.delivery.handover import MOST_FAILS, Handover, Plan
from worker.delivery.ledger import Answer, State
from worker.delivery.queue import FenceQueue
from worker.delivery.verdicts import ProviderReason, Sms, Submitted
from worker.errors import DeadLetterReason, PermanentError
from worker.policy.verdicts import Defer, Reason, Send
from worker.state.ledger import Settlement, reason_of

ITS = account(segments_per_second=1000, idempotency_h=24)
TIMED_OUT = Submitted(answer=Answer.AMBIGUOUS, reason=ProviderReason.TIMED_OUT)
CONGESTED = Submitted(answer=Answer.AMBIGUOUS, reason=ProviderReason.SERVER_ERROR)
REFUSED = Submitted(answer=Answer.RECIPIENT_REFUSED, reason=ProviderReason.RECIPIENT_REFUSED)
OUR_TEXT = Submitted(
    answer=Answer.OUR_FAULT, reason=ProviderReason.TEXT_REFUSED, dead_letter=DeadLetterReason.TEXT_REFUSED
)
NO_CREDIT = Submitted(answer=Answer.OUR_FAULT, reason=ProviderReason.NO_CREDIT, hold_s=60.0)


class Store:
    """One row of the ledger, under the worker's own rules; and a provider that answers as told."""

    name = "fake"

    def __init__(self, *answers: Submitted) -> None:
        self.entry, self.answers, self.requests, self.holds, self.deferrals = None, list(answers), 0, [], []

    async def pass_through(self, name, its, asks):
        entries = {self.entry.message_id: self.entry} if self.entry else {}
        view = View(now=1000.0, tokens=1000.0, refilled_at=1000.0, held_until=0.0, live_claims=0, entries=entries, acts={},
                    suppressions={}, projection_age_s=0.0)  # fmt: skip
        decision = decide(asks, view, name, its, "me", 60)
        for entry in decision.entries:
            self.entry = entry
        self.deferrals += decision.deferrals
        return decision.replies

    async def send(self, sms: Sms, ref: str) -> Submitted:
        self.requests += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def settle(self, plan, claimed, submitted):
        its = Settlement(claimed=claimed.entry, answer=submitted.answer, burns=False, final=submitted.is_final,
                         outcome=lambda kind: plan.outcome(kind, reason_of(kind, submitted), submitted, plan.verdict))  # fmt: skip
        self.entry = its.after
        return its.after

    async def hold(self, name: str, seconds: float, reason: str) -> None:
        self.holds.append(seconds)


@pytest.fixture
async def deliver():
    tasks = []

    async def run(store: Store, **changes) -> bytes:
        clock = ManualClock()
        queue = FenceQueue("a", ITS, store, clock)
        tasks.append(asyncio.create_task(queue.run()))
        attempts = Attempts("a", ITS, store, clock, store.hold)
        handover = Handover((f"me:{n}" for n in itertools.count()), queue, attempts, store, clock)
        return await handover.deliver(replace(plan(), **changes))

    yield run
    for task in tasks:
        task.cancel()


def plan() -> Plan:
    return Plan(
        message_id="m-1", fingerprint="f1", lane=Lane.TRANSACTIONAL, person=None, purpose=None, encoding="GSM-7", segments=1,
        category="transactional", event_time=NOW, due_at=NOW, expires_at=NOW + timedelta(hours=48), verdict=Send(),
        sms=Sms("+33612345678", "text", "SHOP", marketing=False), refusals_burn=False,
        outcome=lambda kind, reason, submitted, verdict: f"{kind}:{reason}".encode(), deferral=lambda verdict: verdict,
    )  # fmt: skip


@pytest.mark.parametrize("answer", [REFUSED, OUR_TEXT], ids=["its number is refused", "its text is refused"])
async def test_what_was_in_doubt_and_is_then_refused_for_good_ends_as_unknown(deliver, answer) -> None:
    """The refusal says nothing of the first attempt; asked again, it would be said again for a day."""
    store = Store(TIMED_OUT, answer)

    assert await deliver(store) == f"{OutcomeKind.UNKNOWN}:{Reason.IN_DOUBT}".encode()
    assert store.requests == 2
    assert store.entry.state is State.UNKNOWN


async def test_how_long_it_took_counts_from_when_it_was_due_and_segments_are_told_beside_the_provider_s(
    deliver,
) -> None:
    def told(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, labels) or 0.0

    late_s = (ManualClock().now() - NOW).total_seconds() + 42
    names = {
        "sms_event_to_submit_seconds_sum": {"lane": "transactional"},
        "sms_segments_total": {"account": "a", "category": "transactional", "encoding": "GSM-7"},
        "sms_provider_segments_total": {"account": "a", "category": "transactional"},
        "sms_segment_mismatches_total": {"account": "a"},
    }
    before = {name: told(name, **labels) for name, labels in names.items()}
    two = Submitted(answer=Answer.ACCEPTED, reason=ProviderReason.OK, segments=2)

    await deliver(Store(two), due_at=NOW - timedelta(seconds=42))

    grown = {name: told(name, **labels) - before[name] for name, labels in names.items()}
    assert list(grown.values()) == [pytest.approx(late_s), 1, 2, 1]


async def test_a_text_that_is_refused_at_once_is_a_dead_letter_and_may_be_sent_by_a_replay(deliver) -> None:
    store = Store(OUR_TEXT)

    with pytest.raises(PermanentError):
        await deliver(store)

    assert store.entry.state is State.RELEASED


async def test_one_message_that_fails_again_and_again_waits_in_the_database_and_stays_in_doubt(deliver) -> None:
    store = Store(CONGESTED)

    payload = await deliver(store)

    assert payload == f"{OutcomeKind.DEFERRED}:{Reason.TRY_AGAIN}".encode()
    assert store.requests == MOST_FAILS
    assert store.entry.state is State.IN_DOUBT
    assert store.entry.ambiguous
    assert store.holds == []
    (waits,) = store.deferrals
    assert isinstance(waits, Defer)


async def test_while_its_account_rests_nothing_gives_up_its_place(deliver) -> None:
    store = Store(*[NO_CREDIT] * 30, Submitted(answer=Answer.ACCEPTED))

    assert await deliver(store) == b"accepted:None"
    assert store.deferrals == []
    assert len(store.holds) == 30
