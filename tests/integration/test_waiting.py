"""What waits: unknown contacts, delays, templates of the next version; and what makes waiting pointless."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from schemas.messages import Lane
from tests import builders
from tests.conftest import REAL_SERVERS
from tests.builders import account, ask, message
from tests.fakes import MemoryWriter
from tests.world import open_world, terminal
from worker.clock import SystemClock
from worker.delivery.deferrals import Deferral
from worker.delivery.asks import Claimed, Deferred, Settled
from worker.delivery.ledger import State
from worker.messages import lane_record, written
from worker.mover import Mover
from worker.policy.verdicts import Defer, Reason
from worker.state.clock import StateClock
from worker.state.database import Database
from worker.state.fence import FenceStore
from worker.state.tables import deferred
from worker.state.waiting import SeenEvents, Waiting
from worker.topics import Topics

BIG = account(segments_per_second=1e6, max_in_flight=10_000)
ID = "11111111-1111-5111-8111-111111111111"


@pytest.fixture
async def fences(database: Database) -> FenceStore:
    store = FenceStore(database, "me", 60)
    await store.open_account("a")
    async with database.transaction() as connection:
        await connection.execute(sa.text("UPDATE accounts SET tokens = 1000000"))
    return store


def waiting_ask(step: int = 0, due: float | None = None, **changes):
    """What a message asks that must wait until *due*, by default a second ago."""
    due = time.time() - 1 if due is None else due

    def deferral(verdict: Defer) -> Deferral:
        return Deferral(
            message_id=ID, step=step + 1, lane=Lane.TRANSACTIONAL, due=due, reason=verdict.reason,
            template="order_shipped", recipient="r-1", message=written(message(step=step + 1)),
        )  # fmt: skip

    verdict = Defer(datetime.fromtimestamp(due, UTC), Reason.DELAYED)
    return ask(ID, step=step, verdict=verdict, deferral=deferral, holder=f"me:{step}", **changes)


async def test_who_waits_has_a_row_and_the_copy_that_was_read_is_done(fences, database) -> None:
    (first,) = await fences.pass_through("a", BIG, [waiting_ask()])
    (again,) = await fences.pass_through("a", BIG, [ask(ID, step=0)])
    (later,) = await fences.pass_through("a", BIG, [ask(ID, step=1)])

    assert first == again == Deferred(b"deferred:delayed")
    assert isinstance(later, Claimed)
    assert await Waiting(database).count() == {("transactional", "delayed"): 1}


async def test_what_is_due_is_taken_once_and_never_early(fences, database) -> None:
    await fences.pass_through("a", BIG, [waiting_ask(due=time.time() + 1.0)])
    waiting = Waiting(database)

    early = await waiting.take(Lane.TRANSACTIONAL, 10)
    elsewhere = await waiting.take(Lane.URGENT, 10)
    await asyncio.sleep(1.3)
    taken = await waiting.take(Lane.TRANSACTIONAL, 10)
    twice = await waiting.take(Lane.TRANSACTIONAL, 10)

    assert (early, elsewhere, twice) == ([], [], [])
    assert [(one.message_id, one.step) for one in taken] == [(ID, 1)]


async def test_a_mover_that_was_slow_does_not_delete_what_was_deferred_again(fences, database) -> None:
    waiting = Waiting(database)
    await fences.pass_through("a", BIG, [waiting_ask(step=0)])
    taken = await waiting.take(Lane.TRANSACTIONAL, 10)
    await fences.pass_through("a", BIG, [waiting_ask(step=1)])

    await waiting.moved(taken)

    assert [one.step for one in await waiting.take(Lane.TRANSACTIONAL, 10)] == [2]


async def test_a_mover_that_died_after_publishing_publishes_again_and_the_copy_is_known_for_one(
    fences, database
) -> None:
    """Its rows are taken for a minute; then another mover publishes them too."""
    await fences.pass_through("a", BIG, [waiting_ask()])
    waiting, writer = Waiting(database), MemoryWriter()
    await waiting.take(Lane.TRANSACTIONAL, 10)  # published, and killed here
    async with database.transaction() as connection:
        await connection.execute(deferred.update().values(taken_until=0))

    mover = Mover(Lane.TRANSACTIONAL, waiting, writer, Topics("sms"), SystemClock())
    moved = await mover.move()

    assert moved == 1
    assert [(one.topic, one.key) for one in writer.records] == [("sms.transactional.due", b"r-1")]
    assert await waiting.count() == {}
    first, second = await fences.pass_through(
        "a", BIG, [ask(ID, step=1, holder="me:x"), ask(ID, step=1, holder="me:y")]
    )
    assert isinstance(first, Claimed)
    assert not isinstance(second, Claimed)


@pytest.mark.parametrize(("seen_at", "superseded"), [(9.0, False), (10.0, True), (11.0, True)])
async def test_an_event_not_earlier_than_its_own_makes_a_message_pointless(
    fences, database, seen_at: float, superseded: bool
) -> None:
    seen = SeenEvents(database)
    await seen.remember([("cart", seen_at)])
    await seen.remember([("cart", 1.0)])  # an older one, arriving late, changes nothing

    (reply,) = await fences.pass_through("a", BIG, [ask(ID, event_at=10.0, unless=("cart", "other"))])

    assert (reply == Settled(b"superseded:superseded")) is superseded


async def test_a_machine_whose_clock_is_wrong_keeps_the_database_s_time(database) -> None:
    class Wrong(SystemClock):
        def now(self) -> datetime:
            return super().now() + timedelta(hours=1)

    clock = StateClock(Wrong(), database)
    await clock.set()

    assert abs((clock.now() - datetime.now(UTC)).total_seconds()) < 1


@REAL_SERVERS
async def test_an_unknown_contact_is_waited_for_and_its_segment_decided_then(servers, tmp_path) -> None:
    """Two offers for contacts whose events come late: one is in the segment, one is not; a third never comes."""
    async with open_world(tmp_path, **servers, settings={"waiting": {"unknown_contact_s": 6}}) as world:
        async with world.worker():
            everybody = [{"contact_id": who} for who in ("c-in", "c-out", "c-never")]
            await world.publish("promotion.announced", recipients=everybody)
            await world.read("sms.outcomes", lambda found: len(found) >= 9)
            for who, phone, orders in (("c-in", "+33671000001", 5), ("c-out", "+33671000002", 0)):
                await world.publish("contact.updated", contact_id=who, phone=phone, attributes={"orders_90d": orders})
                await world.publish("consent.granted", {"contact_id": who})
            outcomes = await world.outcomes(9, 40)

    told = {(o["route"], o["outcome"], o.get("reason")) for its in outcomes.values() for o in its}
    assert [text.to for text in world.provider.sent] == ["+33671000001"]
    assert ("promotion-loyal", "accepted", None) in told
    assert ("promotion-loyal", "suppressed", "no_route_matched") in told
    assert ("promotion-loyal", "suppressed", "unknown_contact") in told
    assert all(its[0]["outcome"] == "deferred" and its[0]["reason"] == "unknown_contact" for its in outcomes.values())
    assert all(len(kinds) == 1 for kinds in terminal(outcomes).values())


@REAL_SERVERS
async def test_a_reminder_waits_its_time_unless_the_cart_became_an_order_before_or_after(servers, tmp_path) -> None:
    async with open_world(tmp_path, **servers, delay="8s") as world:
        await world.people(3)
        await world.publish(
            "order.confirmed", {"contact_id": "c-0"}, cart_id="k-before", time=datetime.now(UTC) + timedelta(seconds=60)
        )
        async with world.worker() as worker:
            while not all(worker.readiness().values()):  # a slow start must not use the delay up
                await asyncio.sleep(0.1)
            began = time.time()
            for number, cart in enumerate(("k-before", "k-after", "k-never")):
                await world.publish("cart.abandoned", {"contact_id": f"c-{number}"}, cart_id=cart)
            await world.read("sms.outcomes", lambda found: sum(b'"deferred"' in one.value for one in found) >= 2)
            await world.publish("order.confirmed", {"contact_id": "c-1"}, cart_id="k-after")
            outcomes = await world.outcomes(5, 40)

    ends = {o["route"]: [] for its in outcomes.values() for o in its}
    for its in outcomes.values():
        ends[its[0]["route"]].append([o["outcome"] for o in its])
    assert sorted(ends["cart-reminder"]) == [["deferred", "accepted"], ["deferred", "superseded"], ["superseded"]]
    (reminder,) = [text for text in world.provider.sent if text.to == "+33671000002"]
    assert datetime.fromisoformat(reminder.at).timestamp() >= began + 8


@REAL_SERVERS
async def test_an_appointment_that_is_cancelled_or_moved_kills_or_moves_its_reminder(servers, tmp_path) -> None:
    unless = "unless: [{type: appointment.cancelled, correlate: data.appointment_id}, {type: appointment.rescheduled, correlate: data.appointment_id}]"
    rest = f"template: appointment_reminder, at: data.starts_at - 24h, {unless}"
    async with open_world(tmp_path, **servers) as world:
        routes = world.config / "routes.yaml"
        added = [
            f"- {{id: reminder-{kind}, event: appointment.{kind}, {rest}}}\n" for kind in ("booked", "rescheduled")
        ]
        routes.write_text(routes.read_text() + "".join(added))
        await world.people(3)
        async with world.worker() as worker:
            while not all(worker.readiness().values()):
                await asyncio.sleep(0.1)

            async def tell(kind: str, number: int, in_s: float) -> None:
                starts_at = (datetime.now(UTC) + timedelta(hours=24, seconds=in_s)).isoformat()
                who = {"contact_id": f"c-{number}"}
                await world.publish(f"appointment.{kind}", who, appointment_id=f"a-{number}", starts_at=starts_at)

            for number in range(3):
                await tell("booked", number, 8)
            await world.read("sms.outcomes", lambda found: sum(b"delayed" in one.value for one in found) >= 3)
            await tell("cancelled", 1, 8)
            await tell("rescheduled", 2, 14)
            outcomes = await world.outcomes(3 + 1 + 1 + 4, 60)

    ended = [
        (its[-1]["route"], its[-1]["outcome"]) for its in outcomes.values() if its[-1]["route"].startswith("reminder")
    ]
    assert sorted(ended) == [
        ("reminder-booked", "accepted"), ("reminder-booked", "superseded"), ("reminder-booked", "superseded"),
        ("reminder-rescheduled", "accepted"),
    ]  # fmt: skip


@REAL_SERVERS
async def test_a_template_of_the_next_version_is_waited_for_then_a_dead_letter(servers, tmp_path) -> None:
    async with open_world(tmp_path, **servers, settings={"waiting": {"unknown_template_s": 3}}) as world:
        its = message(template="order_teleported", expires_at=datetime.now(UTC) + timedelta(hours=1))
        record = lane_record("sms.transactional", its)
        async with world.worker():
            await world.send(record.topic, record.value, record.headers, record.key)
            (letter,) = await world.read("sms.transactional.dlq", lambda found: len(found) >= 1)
            told = await world.read("sms.outcomes", lambda found: len(found) >= 3)

    assert dict(letter.headers)["x-dlq-reason"] == b"unknown_template"
    assert letter.key is not None
    kinds = [json.loads(one.value)["data"]["outcome"] for one in told]
    assert kinds[-1] == "dead_lettered"
    assert set(kinds[:-1]) == {"deferred"}


async def test_what_waits_survives_a_restart_and_an_expiry_is_checked_first(fences, database) -> None:
    await fences.pass_through("a", BIG, [waiting_ask()])

    (reply,) = await FenceStore(database, "another", 60).pass_through("a", BIG, [waiting_ask(step=1, expires_at=1.0)])

    assert reply == Settled(b"expired:expired")


async def test_what_is_in_doubt_stays_in_doubt_while_it_waits(fences, database) -> None:
    """A crash in mid-request, and its template is gone for a while: whoever asks again must know of the doubt."""
    keyed = account(segments_per_second=1e6, max_in_flight=10, idempotency_h=24)
    await fences.pass_through("a", keyed, [ask(ID, holder="me:1")])

    await fences.pass_through("a", keyed, [waiting_ask()])
    (later,) = await fences.pass_through("a", keyed, [ask(ID, step=1, holder="me:3")])

    assert later == Claimed(1, "me:3")
    async with database.reading() as connection:
        row = (await connection.execute(sa.text("SELECT state, ambiguous, step FROM ledger"))).one()
    assert (row.state, bool(row.ambiguous), row.step) == (State.CLAIMED, True, 1)
