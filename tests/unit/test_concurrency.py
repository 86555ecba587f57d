"""How many requests at once: fewer while the provider struggles, never more than the account allows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.delivery.concurrency import ConcurrencyLimit
from worker.delivery.ledger import Answer
from worker.delivery.verdicts import ProviderReason, Submitted

FINE = Submitted(answer=Answer.ACCEPTED)
REFUSED = Submitted(answer=Answer.RECIPIENT_REFUSED, reason=ProviderReason.RECIPIENT_REFUSED)
SLOW = Submitted(answer=Answer.AMBIGUOUS, reason=ProviderReason.TIMED_OUT)
TOO_LATE = Submitted(answer=Answer.NOT_SENT, reason=ProviderReason.TOO_LATE_TO_START)


def after(limit: ConcurrencyLimit, *answers: Submitted) -> int:
    for answer in answers:
        limit.begin()
        limit.end(limit.begun, answer)
    return limit.limit


def test_what_struggles_is_asked_less_and_a_refused_number_is_no_struggle() -> None:
    assert after(ConcurrencyLimit(10), SLOW) == 7
    assert after(ConcurrencyLimit(10), SLOW, SLOW) == 4
    assert after(ConcurrencyLimit(10), REFUSED, TOO_LATE) == 10


def test_requests_that_began_before_the_limit_was_lowered_lower_it_no_further() -> None:
    limit = ConcurrencyLimit(10)
    marks = []
    for _ in range(10):
        limit.begin()
        marks.append(limit.begun)

    for mark in marks:
        limit.end(mark, SLOW)

    assert (limit.limit, limit.under_way) == (7, 0)


def test_after_a_hold_it_begins_with_one_and_ramps_up() -> None:
    limit = ConcurrencyLimit(16)
    limit.restart()
    seen = [limit.limit]
    for _ in range(4):  # a round trip each: as many answers as it allows
        seen.append(after(limit, *[FINE] * limit.limit))

    assert seen == [1, 2, 4, 8, 16]


@given(st.integers(1, 50), st.lists(st.sampled_from([FINE, REFUSED, SLOW, TOO_LATE, None]), max_size=60))
def test_it_is_never_below_one_nor_above_what_the_account_allows(most: int, answers) -> None:
    limit = ConcurrencyLimit(most)

    for answer in answers:
        if answer is None:
            limit.restart()
        else:
            after(limit, answer)

        assert 1 <= limit.limit <= most
        assert limit.under_way == 0
