"""What operators asked for, as a process hears of it."""

from worker.errors import BrokerUnavailable
from worker.operations import Operations
from worker.records import Place

from tests.fakes import ManualClock

PLACE = Place("sms.urgent", 0, 7)


class Book:
    async def skips(self) -> dict:
        return {PLACE: "stands in the way"}

    async def floods(self) -> dict:
        return {}


async def test_a_record_that_is_with_the_provider_is_asked_for_again_until_it_can_be_let_go() -> None:
    operations, answers, asked = Operations(Book(), ManualClock()), [False, False, True], []

    async def let_go(place: Place) -> bool:
        asked.append(place)
        return answers[len(asked) - 1]

    operations.on_skip.append(let_go)
    for _ in range(5):
        await operations.hear()

    assert asked == [PLACE] * 3


async def test_a_client_that_cannot_be_rebuilt_does_not_end_the_process() -> None:
    operations = Operations(Book(), ManualClock())

    async def let_go(_: Place) -> bool:
        raise BrokerUnavailable("away")

    operations.on_skip.append(let_go)
    await operations.hear()
