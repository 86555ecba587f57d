"""What goes back and what is left: by the state as it is, on both databases."""

import json
import uuid
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from tests import builders
from tests.builders import NOW, PEPPER, RING, account, ask, message
from tests.fakes import ManualClock, MemoryWriter
from worker.delivery.asks import Claimed, Settled
from worker.delivery.ledger import Answer, Entry, State, claim, give_up_on, reopen, settle
from worker.errors import DeadLetterReason, PermanentError
from worker.messages import lane_record
from worker.policy.checking import Checking
from worker.records import Record
from worker.replaying import judging
from worker.replaying.judging import Judge
from worker.replaying.letters import Letter
from worker.replaying.putting_back import HANDLED, NEEDS_YES_MARKETING, NEVER_NEW, Figures, Run, Wish, left_because
from worker.results import dead_letter, restore
from worker.state.cancelling import Cancelling
from worker.state.fence import FenceStore
from worker.state.ledger import Ledger, Settlement
from worker.state.tables import ledger
from worker.state.operating import Operating
from worker.state.people import People
from worker.state.tables import handled_letters
from worker.topics import Topics

CONFIGURATION = builders.configuration()
BIG = account(segments_per_second=1e6, max_in_flight=1_000, idempotency_h=0)


@pytest.fixture
async def tools(database):
    """What a command has, with a clock that stands still and a writer that keeps what is written."""
    people = People(database, RING)
    await people.load(["r-1"], create_keys=True)
    store = FenceStore(database, "me", 60)
    await store.open_account("octopush-transactional")
    async with database.transaction() as connection:
        await connection.execute(sa.text("UPDATE accounts SET tokens = 1000000"))
    return SimpleNamespace(
        configuration=CONFIGURATION, clock=ManualClock(), database=database, operating=Operating(database), people=people,
        pepper=PEPPER, topics=Topics("sms"), sink=MemoryWriter(), fences=store,
    )  # fmt: skip


async def letter(tools, replays: int = 0, code=DeadLetterReason.MISSING_VARIABLE, **changes) -> Letter:
    """A letter of a message; its text is for order_shipped unless said."""
    import base64
    import json

    key = (await tools.people.load(["r-1"]))["r-1"].key
    body = {
        "phone": "+33612345678",
        "locale": "fr",
        "zone": None,
        "data": builders.DATA["order.shipped"] | builders.DATA["otp.requested"],
    }
    sealed = base64.b64encode(key.seal(json.dumps(body).encode())).decode()
    its = message(id=str(uuid.uuid4()), contact=False, sealed=sealed, **changes)
    outgoing = lane_record("sms.transactional", its)
    record = Record(outgoing.topic, 0, 7, int(NOW.timestamp() * 1000), outgoing.key, outgoing.value, outgoing.headers)
    made = dead_letter(
        "sms.transactional.dlq", its.lane.value, record, PermanentError(code, "x"), key, PEPPER, {}, replays
    )
    return Letter(Record(made.topic, 0, 1, 1000, made.key, made.value, made.headers))


async def judged(tools, its: Letter):
    (found,) = await Judge(tools).judge([its])
    return found


def id_of(its) -> str:
    return its.message.id


EXPIRED = {"expires_at": NOW - timedelta(seconds=1)}


async def test_a_letter_goes_back_as_the_same_message_and_once_noted_is_hidden(tools) -> None:
    its = await letter(tools)
    found = await judged(tools, its)

    run = Run(tools, Wish(run="a"))
    await run._put_back([found])

    assert found.decision == judging.WOULD_SEND
    assert [id_of(found) in record.value.decode() for record in tools.sink.records] == [True]
    assert await tools.operating.handled(its.place.topic, its.place.partition) == {its.place.offset: its.time_ms}


async def test_a_rehearsal_says_what_the_fence_would_say_of_caps_and_of_what_was_taken_back(tools) -> None:
    its = await letter(tools)
    sent = {"fingerprint": "f", "state": "sent", "attempt": 1, "reuse": False, "ambiguous": False, "updated_at": 0.0}
    counts = {"person": PEPPER.name("phone", "+33612345678"), "scope": "transactional:order_shipped:"}
    rows = [{**sent, **counts, "message_id": str(uuid.uuid4()), "claimed_at": NOW.timestamp() - n} for n in range(20)]
    async with tools.database.transaction() as connection:
        await connection.execute(ledger.insert(), rows)
    capped = await judged(tools, its)
    await Cancelling(tools.database).cancel("route:order-shipped", [], 0.0)
    cancelled = await judged(tools, its)

    assert (capped.decision, capped.detail) == (judging.REFUSED, "cap_reached")
    assert (cancelled.decision, cancelled.detail) == (judging.REFUSED, "cancelled")


async def test_what_two_operators_put_back_at_once_goes_back_once(tools) -> None:
    found = await judged(tools, await letter(tools))
    one, other = Run(tools, Wish(run="a")), Run(tools, Wish(run="b"))
    await one._put_back([found])
    await other._put_back([found])

    assert len(tools.sink.records) == 1
    assert (one.figures.became, other.figures.became) == ({"replayed": 1}, {HANDLED: 1})


async def test_a_letter_at_the_place_of_one_that_was_handled_in_a_topic_made_anew_is_shown(tools) -> None:
    its = await letter(tools)
    later = Letter(its.record._replace(timestamp_ms=its.time_ms + 1))
    await tools.operating.mark_handled({its.place: its.time_ms}, "a")

    assert await tools.operating.handled_among({later.place: later.time_ms}) == set()
    await tools.operating.mark_handled({later.place: later.time_ms}, "b")
    assert await tools.operating.handled_among({later.place: later.time_ms}) == {later.place}


async def test_what_has_expired_goes_anew_under_one_id_however_often_it_is_asked_for(tools) -> None:
    found = await judged(tools, await letter(tools, **EXPIRED))
    for name in ("a run", "a run that was stopped", "another operator"):
        await Run(tools, Wish(run=name, as_new=True))._put_back([found])
        async with tools.database.transaction() as connection:  # each was stopped before it was noted
            await connection.execute(handled_letters.delete())

    values = {record.value for record in tools.sink.on("sms.transactional")}
    assert len(tools.sink.on("sms.transactional")) == 3
    assert len(values) == 1
    assert id_of(found).encode() not in values.pop()
    assert left_because(found, Wish(run="x")) == judging.EXPIRED


async def test_beside_a_message_that_goes_anew_the_old_one_is_never_sent(tools) -> None:
    """Its event is published again, and its template's time to live was made longer meanwhile."""
    found = await judged(tools, await letter(tools, **EXPIRED))
    await Run(tools, Wish(run="a", as_new=True))._put_back([found])

    again = ask(id_of(found), holder="me:1", person=None)
    (reply,) = await tools.fences.pass_through("octopush-transactional", BIG, [again])

    (told,) = tools.sink.on("sms.outcomes")
    assert isinstance(reply, Settled)
    assert reply.payload == told.value
    assert json.loads(told.value)["data"]["outcome"] == "expired"


async def test_a_new_message_lives_from_when_it_is_put_back_however_long_the_run_takes(tools) -> None:
    found = await judged(tools, await letter(tools, **EXPIRED))
    run = Run(tools, Wish(run="a", as_new=True))
    tools.clock.seconds = 48 * 3600.0
    await run._put_back([found])

    (back,) = tools.sink.on("sms.transactional")
    assert datetime.fromisoformat(json.loads(back.value)["expires_at"]) == NOW + timedelta(hours=96)


async def test_a_rehearsal_counts_what_would_be_sent_anew(tools) -> None:
    found = await judged(tools, await letter(tools, **EXPIRED))
    figures = Figures()
    figures.count(found, as_new=False)
    assert figures.segments == 0
    figures.count(found, as_new=True)
    assert figures.segments == 1


async def test_a_letter_that_our_own_mistake_makes_cannot_keep_others_from_going_back(tools, monkeypatch) -> None:
    first, second = await letter(tools), await letter(tools)
    check = Checking.check

    def broken(self, message, known, now):
        if message.id == json.loads(restore(first.record, known.key).value)["id"]:
            raise RuntimeError("a mistake")
        return check(self, message, known, now)

    monkeypatch.setattr(Checking, "check", broken)
    found = await Judge(tools).judge([first, second])

    assert [one.decision for one in found] == [judging.FAILS_AGAIN, judging.WOULD_SEND]
    assert found[0].detail == "internal_error: RuntimeError"


async def test_of_a_message_that_waited_only_the_letter_of_its_latest_copy_goes_back(tools) -> None:
    its = await letter(tools)
    identity = id_of(await judged(tools, its))
    async with tools.database.transaction() as connection:
        waited = Entry(message_id=identity, fingerprint="f1", state=State.RELEASED, step=1)
        await Ledger(tools.database).write(connection, [waited])

    found = await judged(tools, its)
    run = Run(tools, Wish(run="a"))
    await run._put_back([found])

    assert found.decision == judging.OLDER
    assert tools.sink.records == []
    assert await tools.operating.handled(its.place.topic, its.place.partition) == {}  # it stays to be seen


async def test_after_a_resend_the_ledger_proves_nothing(tools) -> None:
    doubtful = Entry(message_id="m", fingerprint="f1", state=State.IN_DOUBT, ambiguous=True, account="a")
    again = claim(give_up_on(doubtful), "h", "a", 0.0, 30.0)
    refused = settle(again, "h", Answer.RECIPIENT_REFUSED)

    assert refused.state is State.REJECTED
    assert reopen(refused) is None


@pytest.mark.parametrize("answer", [None, Answer.AMBIGUOUS], ids=["claimed", "in doubt"])
async def test_what_may_have_been_sent_never_goes_anew(tools, answer) -> None:
    its = await letter(tools, **EXPIRED)
    before = await judged(tools, its)
    asked = ask(id_of(before), holder="me:1", person=None)
    (reply,) = await tools.fences.pass_through("octopush-transactional", BIG, [asked])
    assert isinstance(reply, Claimed)
    if answer is not None:
        settlement = Settlement(claimed=reply.entry, answer=answer, burns=False, outcome=lambda _: b"{}")
        await Ledger(tools.database).settle([settlement])

    after = await judged(tools, its)

    assert before.decision == judging.EXPIRED
    assert after.decision == judging.DOUBT
    assert left_because(after, Wish(run="x", as_new=True, anyway=True, quarantined=True)) == judging.DOUBT


async def test_a_code_never_goes_anew_though_its_template_is_not_urgent_by_now(tools) -> None:
    from schemas.messages import Lane

    urgent = await judged(tools, await letter(tools, template="otp_code", lane=Lane.URGENT, **EXPIRED))
    was_urgent = await judged(tools, await letter(tools, template="order_shipped", lane=Lane.URGENT, **EXPIRED))

    assert [left_because(one, Wish(run="x", as_new=True)) for one in (urgent, was_urgent)] == [NEVER_NEW, NEVER_NEW]


async def test_lifting_the_quarantine_lifts_nothing_else(tools) -> None:
    from schemas.messages import Category, Lane

    offer = await judged(
        tools, await letter(tools, replays=3, template="promotion", category=Category.MARKETING, lane=Lane.MARKETING)
    )
    late = await judged(tools, await letter(tools, replays=3, **EXPIRED))
    gone = await judged(tools, await letter(tools, replays=3, template="no_such"))

    assert {left_because(one, Wish(run="x")) for one in (offer, late, gone)} == {judging.QUARANTINED}
    assert left_because(late, Wish(run="x", quarantined=True)) == judging.EXPIRED
    assert left_because(gone, Wish(run="x", quarantined=True)) == judging.FAILS_AGAIN
    assert left_because(offer, Wish(run="x", quarantined=True, anyway=True)) == NEEDS_YES_MARKETING


async def test_an_id_that_was_used_twice_has_not_ended_for_the_other_event(tools) -> None:
    its = await letter(tools, code=DeadLetterReason.ID_REUSED)
    identity = id_of(await judged(tools, its))
    (reply,) = await tools.fences.pass_through(
        "octopush-transactional", BIG, [ask(identity, holder="me:1", person=None, fingerprint="another")]
    )
    settlement = Settlement(claimed=reply.entry, answer=Answer.ACCEPTED, burns=False, outcome=lambda _: b"{}")
    await Ledger(tools.database).settle([settlement])

    found = await judged(tools, its)

    assert (found.decision, found.detail) == (judging.FAILS_AGAIN, DeadLetterReason.ID_REUSED)
