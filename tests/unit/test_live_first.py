"""What is put back waits behind live messages: no more of it is in a lane than half of what a sender works on at once."""

from tests import builders
from tests.fakes import ManualClock
from worker.replaying.live_first import LiveFirst
from schemas.messages import Lane


async def none_wait():
    return {}


SETTINGS = builders.configuration().settings
ROOM = SETTINGS.lane(Lane.TRANSACTIONAL).slots // 2


class Lanes:
    """Says that so many are ahead, one answer after the other; the last stands."""

    def __init__(self, **ahead: list[int]) -> None:
        self.ahead, self.asked = ahead, []

    async def of(self, group: str, topics) -> int:
        self.asked.append(topics)
        answers = self.ahead.get(group.rsplit("-", 1)[1], [0])
        return answers.pop(0) if len(answers) > 1 else answers[0]


async def test_nothing_is_let_in_until_little_is_ahead() -> None:
    lanes, clock, said = Lanes(transactional=[5_000, ROOM, 3]), ManualClock(), []
    live = LiveFirst(lanes, none_wait, SETTINGS, clock, said.append)

    await live.let_in(1, [Lane.TRANSACTIONAL])

    assert clock.seconds == 1.0
    assert said == ["5,000 ahead in lane transactional", f"{ROOM} ahead in lane transactional", ""]
    assert set(lanes.asked) == {("sms.transactional", "sms.transactional.due")}


async def test_no_more_is_let_in_than_half_of_a_senders_slots() -> None:
    lanes, clock = Lanes(transactional=[0, ROOM, ROOM, 0]), ManualClock()
    live = LiveFirst(lanes, none_wait, SETTINGS, clock, lambda _: None)

    await live.let_in(ROOM, [Lane.TRANSACTIONAL])
    before = clock.seconds
    await live.let_in(1, [Lane.TRANSACTIONAL])

    assert (before, clock.seconds) == (0.0, 1.0)


async def test_an_event_waits_for_the_lanes_of_its_messages_and_for_no_other() -> None:
    lanes, clock = Lanes(marketing=[1_000_000], transactional=[0], replay=[0]), ManualClock()

    await LiveFirst(lanes, none_wait, SETTINGS, clock, lambda _: None).let_in(2, [Lane.TRANSACTIONAL], events=True)

    assert lanes.asked == [("sms.transactional", "sms.transactional.due"), ("sms.router.replay",)]


async def test_what_was_redriven_and_is_not_on_its_lane_yet_is_ahead_too() -> None:
    answers = [{("transactional", "redriven"): 500, ("marketing", "redriven"): 9}, {("transactional", "delayed"): 500}]
    clock = ManualClock()

    async def waiting():
        return answers.pop(0)

    waited_s = await LiveFirst(Lanes(), waiting, SETTINGS, clock, lambda _: None).let_in(1, [Lane.TRANSACTIONAL])

    assert waited_s == clock.seconds == 0.5
