"""When standing still is a fault, and what is done about it."""

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest

from tests.fakes import ManualClock
from worker.errors import BrokerUnavailable, Stuck
from worker.overseeing import Overseer
from worker.settings import WatchdogSettings
from worker.watchdog import EXIT_BLOCKED, LoopGuard, Sight, Watchdog

SETTINGS = WatchdogSettings(stuck_s=60, away_s=600, blocked_s=1)
STUCK = Sight(unmoved_s=5)


class Runner:
    def __init__(self, error: Exception | None = None) -> None:
        self.rebuilt, self.error = 0, error

    async def rebuild(self) -> None:
        self.rebuilt += 1
        if self.error:
            raise self.error


def dog(*sights: Sight, runner: Runner | None = None) -> Watchdog:
    seen = iter([*sights, *[sights[-1]] * 10_000])
    return Watchdog("lane", runner or Runner(), lambda: next(seen), lambda: None, SETTINGS, ManualClock())


def acts_after(sight: Sight, seconds: int = 5_000) -> int | None:
    """Return after how many seconds of *sight* the watchdog acts."""
    its = dog(sight)
    return next((second for second in range(1, seconds) if its.note(sight, 1.0)), None)


@pytest.mark.parametrize(
    ("sight", "seconds"),
    [
        pytest.param(Sight(), None, id="all is finished"),
        pytest.param(Sight(fetch_dead=True), 1, id="the client's fetch task ended"),
        pytest.param(Sight(fetch_dead=True, away=True), 1, id="it ended while the broker was away"),
        pytest.param(Sight(assigned=False), 60, id="no assignment"),
        pytest.param(Sight(lag=3, idle_s=9), 60, id="lag and no record"),
        pytest.param(Sight(lag=3, idle_s=0.2), None, id="lag and records"),
        pytest.param(STUCK, 60, id="the watermark does not move"),
        pytest.param(Sight(refused_s=9), 60, id="commits are refused"),
        pytest.param(Sight(unmoved_s=99, throttled=True), None, id="it waits for its rate"),
        pytest.param(Sight(lag=3, idle_s=99, paused=True), None, id="enough waits in memory"),
        pytest.param(Sight(unmoved_s=99, away=True), 660, id="the database is away"),
        pytest.param(Sight(silent=True), 660, id="the broker answers nothing"),
    ],
)
def test_its_clock_runs_only_while_progress_is_possible(sight: Sight, seconds: int | None) -> None:
    assert acts_after(sight) == seconds


def test_symptoms_in_turn_do_not_set_one_another_back() -> None:
    its = dog(STUCK)
    turns = [STUCK, Sight(refused_s=9)] * 30

    assert [its.note(sight, 1.0) for sight in turns] == [False] * 59 + [True]


async def test_an_hour_later_a_client_may_be_rebuilt_again_and_no_sooner() -> None:
    runner = Runner()
    its = dog(STUCK, runner=runner)
    await its._act()
    its._clock.seconds += 3599.0
    with pytest.raises(Stuck):
        await its._act()
    its._clock.seconds += 2.0
    await its._act()

    assert runner.rebuilt == 2


def test_whatever_moves_sets_it_back() -> None:
    its = dog(STUCK)
    for _ in range(59):
        assert not its.note(STUCK, 1.0)

    its.note(Sight(), 1.0)

    assert not any(its.note(STUCK, 1.0) for _ in range(59))


@pytest.mark.parametrize(
    "turns",
    [
        pytest.param(
            [Sight(unmoved_s=28, still_s=s) for s in (3.0, 4.0, 1.5, 2.5)], id="one slow record after another"
        ),
        pytest.param([Sight(unmoved_s=3, still_s=3), Sight(lag=9, idle_s=3, still_s=2)], id="two symptoms in turn"),
        pytest.param([Sight(unmoved_s=300, still_s=4)], id="one partition is slow, the others work"),
    ],
)
def test_a_runner_that_is_slow_and_finishes_something_is_not_stuck(turns: list[Sight]) -> None:
    its = dog(STUCK)

    assert not any(its.note(sight, 1.0) for sight in turns * 1_000)


def test_a_runner_that_really_stands_is_stuck_though_it_moved_before() -> None:
    its = dog(STUCK)
    for _ in range(500):
        its.note(Sight(unmoved_s=28, still_s=3), 1.0)

    acts = [its.note(Sight(unmoved_s=28 + n, still_s=3 + n), 1.0) for n in range(70)]

    assert acts.index(True) == 57


async def test_the_client_is_rebuilt_once_and_then_the_process_ends() -> None:
    runner = Runner()

    with pytest.raises(Stuck, match="a new client has not helped"):
        await dog(STUCK, runner=runner).run()

    assert runner.rebuilt == 1


async def test_a_client_that_cannot_be_rebuilt_ends_the_process() -> None:
    with pytest.raises(Stuck, match="no new client can connect"):
        await dog(STUCK, runner=Runner(BrokerUnavailable("away"))).run()


async def test_a_loop_that_does_nothing_ends_the_process() -> None:
    ended = threading.Event()
    codes = []

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    guard = LoopGuard(1.0, end, tell=lambda: codes.append("flight record"))
    beating = asyncio.create_task(guard.beat(asyncio.sleep))
    await asyncio.sleep(0.1)
    began = time.monotonic()
    while not ended.is_set() and time.monotonic() - began < 20:
        time.sleep(0.05)  # the loop is blocked, and the thread must see it
    beating.cancel()

    assert codes == ["flight record", EXIT_BLOCKED]


async def test_a_loop_that_runs_ends_nothing() -> None:
    codes = []
    guard = LoopGuard(1.0, codes.append)
    beating = asyncio.create_task(guard.beat(asyncio.sleep))

    await asyncio.sleep(3)
    beating.cancel()

    assert codes == []


@pytest.mark.parametrize(
    ("sources", "answers"),
    [
        pytest.param([(False, True), (False, False)], True, id="one hears of it"),
        pytest.param([(True, True), (False, False)], False, id="a full one does not ask, and the other hears nothing"),
        pytest.param([(True, True)], True, id="all are full: nobody knows better"),
    ],
)
def test_kafka_answers_if_whoever_asks_hears_of_it(sources: list[tuple[bool, bool]], answers: bool) -> None:
    def runner(paused: bool, heard: bool) -> SimpleNamespace:
        return SimpleNamespace(
            source=SimpleNamespace(paused=paused, standing=SimpleNamespace(broker_answers=lambda: heard))
        )

    stage = SimpleNamespace(runners={n: runner(*its) for n, its in enumerate(sources)})

    assert Overseer(None, stage, lambda: True).kafka_answers() is answers
