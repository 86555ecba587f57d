"""What holds a template or an account, and what never does."""

import pytest

from tests.builders import message
from worker.errors import DeadLetterReason
from worker.floods import LEAST, LONGEST_S, Floods

OURS, VALUE, CODE = (
    DeadLetterReason.SENDER_REFUSED,
    DeadLetterReason.MISSING_VARIABLE,
    DeadLetterReason.UNKNOWN_PROVIDER_CODE,
)


class Holds:
    """Floods with what they hold, and a clock of its own."""

    def __init__(self) -> None:
        self.held, self.now = {}, 0.0
        self.floods = Floods(self._hold, self.held.__contains__, lambda: self.now)

    async def _hold(self, scope: str, reason: str) -> None:
        self.held[scope] = reason

    async def note(self, *codes: DeadLetterReason | None) -> dict[str, str]:
        for code in codes:
            await self.floods.note(message(), "octopush", code)
        return self.held


@pytest.mark.parametrize(
    ("codes", "held"),
    [
        pytest.param([OURS] * (LEAST - 1), {}, id="too few"),
        pytest.param([OURS] * LEAST, {"template:order_shipped": OURS}, id="every one"),
        pytest.param([OURS, None] * LEAST, {"template:order_shipped": OURS}, id="every second"),
        pytest.param([OURS, None, None] * 100, {}, id="every third"),
        pytest.param([VALUE] * LEAST, {"template:order_shipped": VALUE}, id="a broken template fails always"),
        pytest.param([VALUE, VALUE, VALUE, None] * 100, {}, id="an emitter of bad values does not"),
        pytest.param([CODE] * LEAST, {"account:octopush": CODE}, id="a code that nobody knows"),
        pytest.param([DeadLetterReason.INTERNAL_ERROR] * LEAST, {"template:order_shipped": "internal_error"}, id="our mistake"),
        pytest.param([DeadLetterReason.BAD_DATA, DeadLetterReason.MALFORMED_JSON] * 5_000, {}, id="malformed input never holds"),
        pytest.param([OURS, DeadLetterReason.ID_REUSED] * LEAST, {"template:order_shipped": OURS}, id="other letters say nothing"),
    ],
)  # fmt: skip
async def test_what_is_our_fault_holds_by_count_and_by_ratio(codes, held) -> None:
    assert await Holds().note(*codes) == held


async def test_what_happened_long_ago_is_no_flood() -> None:
    its = Holds()
    for _ in range(LEAST * 2):
        its.now += LONGEST_S / 10
        await its.note(OURS)

    assert its.held == {}


async def test_what_led_to_a_hold_is_no_reason_to_hold_again_after_the_release() -> None:
    """In another process, which had not seen enough of it to hold."""
    its = Holds()
    await its.note(*[OURS] * (LEAST - 1))
    its.held["template:order_shipped"] = "sender_refused"
    await its.note(OURS, OURS)
    its.floods.forget("template:order_shipped")
    del its.held["template:order_shipped"]

    assert await its.note(OURS) == {}
