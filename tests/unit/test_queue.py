"""Waiting for the fence: who goes first, who is let go when the process ends, what an outage does."""

import asyncio

import pytest

from schemas.messages import Lane
from tests.builders import account, ask
from tests.fakes import ManualClock
from worker.clock import SystemClock
from worker.delivery.asks import Claimed, Settled, Wait
from worker.delivery.queue import FenceQueue
from worker.errors import CheckAgain, StateRefused, StateUnavailable, Stopping


class Fences:
    """A fence that answers as told, batch by batch."""

    def __init__(self, *answers) -> None:
        self.answers = list(answers)
        self.batches: list[list[str]] = []

    async def pass_through(self, name, its, asks):
        self.batches.append([one.message_id for one in asks])
        answer = self.answers.pop(0) if self.answers else Claimed(1, "x")
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            return await answer(asks)
        return [answer] * len(asks)

    async def hold(self, name, seconds, reason) -> None: ...


@pytest.fixture
async def running():
    tasks = []

    def start(fences: Fences, clock=None, is_paused=lambda _: False) -> FenceQueue:
        queue = FenceQueue("account", account(), fences, clock or SystemClock(), is_paused)
        tasks.append(asyncio.create_task(queue.run()))
        return queue

    yield start
    for task in tasks:
        task.cancel()


async def test_what_gathers_while_the_fence_is_busy_goes_together_the_urgent_first(running) -> None:
    release = asyncio.Event()

    async def slowly(asks):
        await release.wait()
        return [Claimed(1, "x")] * len(asks)

    fences = Fences(slowly)
    queue = running(fences)
    first = asyncio.create_task(queue.ask(ask("first")))
    await asyncio.sleep(0.01)
    others = [
        asyncio.create_task(queue.ask(ask(name, lane=lane)))
        for name, lane in (("b", Lane.TRANSACTIONAL), ("code", Lane.URGENT))
    ]
    await asyncio.sleep(0.01)
    release.set()
    await asyncio.gather(first, *others)

    assert fences.batches == [["first"], ["code", "b"]]


async def test_who_must_wait_is_asked_for_again(running) -> None:
    fences = Fences(Wait(0.01, "rate"), Settled(b"done"))
    queue = running(fences)

    assert await queue.ask(ask()) == Settled(b"done")
    assert len(fences.batches) == 2


async def test_while_the_state_store_is_away_the_same_batch_is_asked_again(running) -> None:
    fences = Fences(StateUnavailable(), StateUnavailable())
    queue = running(fences, ManualClock())

    reply = await queue.ask(ask())

    assert isinstance(reply, Claimed)
    assert fences.batches == [["m-1"]] * 3


async def test_the_start_window_runs_from_before_the_first_try(running) -> None:
    clock = ManualClock()
    queue = running(Fences(StateUnavailable(), StateUnavailable()), clock)

    reply = await queue.ask(ask())

    assert reply.asked_at == 0.0
    assert clock.monotonic() > 0.0


async def test_at_the_end_who_waits_is_let_go_and_nobody_is_let_in(running) -> None:
    queue = running(Fences(*[Wait(60, "held")] * 100))
    waiting = asyncio.create_task(queue.ask(ask()))
    await asyncio.sleep(0.01)

    queue.close()

    with pytest.raises(Stopping):
        await waiting
    with pytest.raises(Stopping):
        await queue.ask(ask())


async def test_at_the_end_whom_a_transaction_claims_is_not_let_go(running) -> None:
    release = asyncio.Event()

    async def slowly(asks):
        await release.wait()
        return [Claimed(1, "x")] * len(asks)

    queue = running(Fences(slowly))
    waiting = asyncio.create_task(queue.ask(ask()))
    await asyncio.sleep(0.01)
    queue.close()
    release.set()

    assert isinstance(await waiting, Claimed)


async def test_a_place_that_is_given_up_is_not_asked_for(running) -> None:
    fences = Fences(*[Wait(0.02, "rate")] * 100)
    queue = running(fences)
    waiting = asyncio.create_task(queue.ask(ask()))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.sleep(0.05)

    assert len(queue) == 0


async def test_one_that_the_database_refuses_is_singled_out_and_the_others_keep_their_start_window(running) -> None:
    clock = ManualClock()
    clock.seconds = 500.0

    async def refuses_b(asks):
        if any(one.message_id == "b" for one in asks):
            raise StateRefused("22001")
        return [Claimed(1, one.holder) for one in asks]

    queue = running(Fences(*[refuses_b] * 4), clock)
    answers = await asyncio.gather(*(queue.ask(ask(name)) for name in ("a", "b", "c")), return_exceptions=True)

    assert [answer.asked_at for answer in (answers[0], answers[2])] == [500.0, 500.0]
    assert isinstance(answers[1], StateRefused)


async def test_while_a_provider_struggles_a_code_still_goes_beside_what_is_under_way(running) -> None:
    """The limit fell to one, and an offer has it for as long as the provider takes."""
    fences = Fences(*[lambda asks: _claim(asks)] * 9)
    queue = running(fences)
    queue.concurrency.restart()
    await queue.ask(ask("slow"))
    offer = asyncio.create_task(queue.ask(ask("offer")))
    await asyncio.sleep(0.02)

    code = await asyncio.wait_for(queue.ask(ask("code", lane=Lane.URGENT)), 2)

    assert isinstance(code, Claimed)
    assert not offer.done()
    assert fences.batches == [["slow"], ["code"]]
    offer.cancel()


async def test_a_lane_that_waits_behind_codes_waits_for_the_account_and_one_that_is_decided_on_does_not(
    running,
) -> None:
    release = asyncio.Event()

    async def hanging(asks):
        await release.wait()
        return [Claimed(1, "x")] * len(asks)

    queue = running(Fences(hanging))
    queue.concurrency.restart()
    waits = [asyncio.create_task(queue.ask(ask("code", lane=Lane.URGENT))),
             asyncio.create_task(queue.ask(ask("order", lane=Lane.TRANSACTIONAL)))]  # fmt: skip
    await asyncio.sleep(0.05)

    assert (queue.waits_of(Lane.URGENT), queue.waits_of(Lane.TRANSACTIONAL)) == (None, "concurrency")
    release.set()
    await waits[0]
    await asyncio.sleep(0.05)
    assert queue.waits_of(Lane.TRANSACTIONAL) == "concurrency"  # the code's request runs
    waits[1].cancel()


async def _claim(asks):
    return [Claimed(1, one.holder) for one in asks]


async def test_at_the_end_whoever_is_answered_last_has_its_claim_too(running) -> None:
    """Answers are handed out some at a time; the process may be told to end in between."""
    queue = running(Fences(_claim))

    async def one(name: str):
        answer = await queue.ask(ask(name))
        queue.close()
        return answer

    answers = await asyncio.gather(*(one(f"m-{n}") for n in range(90)), return_exceptions=True)

    assert all(isinstance(answer, Claimed) for answer in answers)


async def test_what_is_paused_waits_others_pass_and_resuming_begins_with_one_request(running) -> None:
    paused, fences = {Lane.MARKETING}, Fences()
    queue = running(fences, is_paused=lambda ask: ask.lane in paused)
    offers = [asyncio.create_task(queue.ask(ask(f"offer-{n}", lane=Lane.MARKETING))) for n in range(5)]
    await queue.ask(ask("code", lane=Lane.URGENT))
    await asyncio.sleep(0.3)
    before, waits_for = list(fences.batches), queue.waits_of(Lane.MARKETING)
    assert queue.waits_of(Lane.URGENT) is None  # another lane's pause is no excuse
    paused.clear()
    queue.resume()
    await asyncio.sleep(0.3)
    begun = [one for one in offers if one.done()]

    assert before == [["code"]]
    assert waits_for == "paused"
    assert begun == []  # the code's request still runs, and there is room for one
    assert queue.concurrency.limit == 1
    queue.concurrency.end(0, None)
    queue.wake()
    await asyncio.sleep(0.1)
    assert sum(one.done() for one in offers) == 1
    for one in offers:
        one.cancel()


async def test_whoever_waits_is_checked_anew_when_the_rules_change_but_not_whom_a_transaction_decides_on(
    running,
) -> None:
    release = asyncio.Event()

    async def slowly(asks):
        await release.wait()
        return [Claimed(1, "x")] * len(asks)

    queue = running(Fences(slowly))
    decided = asyncio.create_task(queue.ask(ask("decided")))
    await asyncio.sleep(0.01)
    waits = asyncio.create_task(queue.ask(ask("waits")))
    await asyncio.sleep(0.01)
    queue.check_again()
    await asyncio.sleep(0.01)
    release.set()

    assert isinstance(await decided, Claimed)
    with pytest.raises(CheckAgain):
        await waits
