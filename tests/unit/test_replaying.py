"""What goes back and what is left: by the state as it is, on both databases."""

import uuid
from datetime import timedelta
from types import SimpleNamespace

import pytest

from tests import builders
from tests.builders import NOW, PEPPER, RING, account, ask, message
from tests.fakes import ManualClock, MemoryWriter
from worker.delivery.fence import Claimed
from worker.delivery.ledger import Answer
from worker.errors import DeadLetterReason, PermanentError
from worker.messages import lane_record
from worker.records import Record
from worker.replaying import judging
from worker.replaying.judging import Judge
from worker.replaying.letters import Letter
from worker.replaying.putting_back import NEEDS_YES_MARKETING, NEVER_NEW, Run, Wish, left_because
from worker.results import dead_letter
from worker.state.fence import FenceStore
from worker.state.ledger import Ledger, Settlement
from worker.state.operating import Operating
from worker.state.people import People
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
        from sqlalchemy import text

        await connection.execute(text("UPDATE accounts SET tokens = 1000000"))
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
    return Letter(Record(made.topic, 0, 1, 0, made.key, made.value, made.headers))


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
    assert await tools.operating.handled([its.place.topic]) == {its.place}


async def test_what_has_expired_goes_anew_under_one_id_however_often_it_is_asked_for(tools) -> None:
    found = await judged(tools, await letter(tools, **EXPIRED))
    for name in ("a run", "a run that was stopped", "another operator"):
        await Run(tools, Wish(run=name, as_new=True))._put_back([found])

    values = {record.value for record in tools.sink.records}
    assert len(tools.sink.records) == 3
    assert len(values) == 1
    assert id_of(found).encode() not in values.pop()
    assert left_because(found, Wish(run="x")) == judging.EXPIRED


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
