"""What Octopush's answers mean: only what proves that nothing was sent is read as "not sent"."""

import json

import pytest

from worker.delivery.attempts import Breaker
from worker.delivery.ledger import Answer
from worker.delivery.verdicts import ProviderReason, Sms, Submitted
from worker.providers.octopush import CODES, classify

ACCEPTED = b'{"sms_ticket":"sms_5fec89fe97109","number_of_contacts":1,"total_cost":0.0333,"number_of_sms_needed":1,"residual_credit":99.5}'


def test_the_documented_success_is_accepted() -> None:
    got = classify(201, {}, ACCEPTED)

    assert (got.answer, got.provider_ref, got.cost, got.segments) == (Answer.ACCEPTED, "sms_5fec89fe97109", 0.0333, 1)


@pytest.mark.parametrize(
    ("status", "body", "answer", "reason"),
    [
        pytest.param(
            400, b'{"code":103,"message":"x"}', "recipient_refused", "number_refused", id="no valid recipient"
        ),
        pytest.param(400, b'{"code":181,"message":"x"}', "recipient_refused", "number_refused", id="number refused"),
        pytest.param(400, b'{"code":104,"message":"x"}', "our_fault", "no_credit", id="no credit: the account waits"),
        pytest.param(401, b"", "our_fault", "bad_credentials", id="bad key"),
        pytest.param(403, b"<html>", "our_fault", "bad_credentials", id="forbidden"),
        pytest.param(400, b'{"code":121,"message":"x"}', "our_fault", "text_refused", id="STOP missing"),
        pytest.param(400, b'{"code":1341,"message":"x"}', "our_fault", "sender_refused", id="word in sender"),
        pytest.param(400, b'{"code":182,"message":"x"}', "already_seen", "already_seen", id="request_id seen"),
        pytest.param(400, b'{"code":"104"}', "our_fault", "no_credit", id="a code as text"),
        pytest.param(201, b'{"sms_ticket": null}', "ambiguous", "unreadable_answer", id="201 with an empty ticket"),
        pytest.param(400, b'{"message":"x"}', "our_fault", "unknown_code", id="an error without a code"),
        pytest.param(400, b'{"code":7777,"message":"x"}', "our_fault", "unknown_code", id="a code nobody knows"),
        pytest.param(400, b"oops", "ambiguous", "unreadable_answer", id="a 400 that does not read proves nothing"),
        pytest.param(429, b"", "not_sent", "rate_limited", id="too many requests"),
        pytest.param(500, b"", "ambiguous", "server_error", id="500 proves nothing"),
        pytest.param(502, b"<html>bad gateway</html>", "ambiguous", "server_error", id="a gateway's 502"),
        pytest.param(200, b"<html>", "ambiguous", "unreadable_answer", id="200 that does not read"),
        pytest.param(200, b"[]", "ambiguous", "unreadable_answer", id="200 of another shape"),
        pytest.param(201, b'{"code": 104}', "ambiguous", "unreadable_answer", id="201 without a ticket"),
    ],
)
def test_an_answer_means_one_thing(status: int, body: bytes, answer: str, reason: str) -> None:
    got = classify(status, {}, body)

    assert (got.answer, got.reason) == (answer, reason)


def test_no_code_but_a_refused_connection_and_429_says_not_sent() -> None:
    assert {meaning.answer for meaning in CODES.values()}.isdisjoint({Answer.NOT_SENT, Answer.ACCEPTED})


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("0", 0.0), ("99999", 300.0), ("soon", 2.0), ("", 2.0)])
def test_retry_after_holds_the_account_as_long_as_it_says(header: str, seconds: float) -> None:
    assert classify(429, {"Retry-After": header}, b"").hold_s == seconds


def test_an_sms_shows_neither_number_nor_text() -> None:
    assert "336" not in repr(Sms("+33612345678", "secret", "SHOP", marketing=False))
    assert "secret" not in repr(Sms("+33612345678", "secret", "SHOP", marketing=False))


def failed(answer: Answer, reason: ProviderReason = ProviderReason.TIMED_OUT) -> Submitted:
    return Submitted(answer=answer, reason=reason)


def test_one_time_out_among_many_holds_nobody_and_five_messages_in_a_row_do() -> None:
    breaker = Breaker()

    holds = [breaker.note(f"m-{number}", failed(Answer.AMBIGUOUS)) for number in range(8)]

    assert holds[:4] == [None] * 4
    assert 0.3 < holds[4] < 0.7
    assert holds[7] > 3


def test_one_message_that_always_fails_holds_nobody() -> None:
    """At night nothing else is sent; its route is congested, and a login code must not rest for it."""
    breaker = Breaker()

    assert [breaker.note("m-1", failed(Answer.AMBIGUOUS, ProviderReason.SERVER_ERROR)) for _ in range(50)] == [
        None
    ] * 50


def test_a_refused_connection_holds_at_once_longer_each_time_and_a_success_ends_it() -> None:
    breaker = Breaker()

    holds = [breaker.note("m-1", failed(Answer.NOT_SENT, ProviderReason.CONNECT_FAILED)) for _ in range(12)]

    assert 0.3 < holds[0] < 0.7
    assert 12 <= holds[-1] <= 18
    breaker.note("m-2", failed(Answer.ACCEPTED, ProviderReason.OK))
    assert breaker.failures == 0


@pytest.mark.parametrize("odd", [-5, 1e308, True, "x", {}, [1]], ids=str)
def test_nonsense_about_money_and_segments_is_not_believed(odd) -> None:
    answer = {"sms_ticket": "t", "total_cost": odd, "number_of_sms_needed": odd, "residual_credit": odd}

    submitted = classify(200, {}, json.dumps(answer).encode())

    assert (submitted.answer, submitted.cost, submitted.segments) == (Answer.ACCEPTED, None, None)
    assert submitted.credit in (None, -5.0)


@pytest.mark.parametrize("contacts", [0, 2, "none"])
def test_an_answer_that_nobody_gets_it_or_several_proves_nothing(contacts) -> None:
    answer = {"sms_ticket": "t", "number_of_contacts": contacts}

    assert classify(200, {}, json.dumps(answer).encode()).answer is Answer.AMBIGUOUS


@pytest.mark.parametrize("code", ["1" * 5_000, "١٠١", True, 1.5, None, {}])
def test_a_code_that_is_none_is_unknown(code) -> None:
    assert classify(400, {}, json.dumps({"code": code}).encode()).reason is ProviderReason.UNKNOWN_CODE
