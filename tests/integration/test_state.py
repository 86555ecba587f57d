"""The state store on both databases: projection, keys, ledger, and a fence that is exact with several processes."""

import asyncio
import random
import subprocess
import sys
import uuid
from contextlib import AsyncExitStack
from dataclasses import asdict, replace

import orjson
import pytest
import sqlalchemy as sa

from schemas.events import EVENTS
from schemas.messages import Lane
from tests import builders
from tests.builders import PEPPER, RING, account, ask, data, record
from worker.clock import SystemClock
from worker.delivery.asks import Claimed, Settled, Wait
from worker.delivery.fence import in_order
from worker.delivery.ledger import Answer, State
from worker.errors import ConfigurationError, StateRefused, StateUnavailable
from worker.people import Change
from worker.policy.consent import Act
from worker.operations import Operations
from worker.records import Place, Skip
from worker.sealing import Erased, Pepper
from worker.servers import DatabaseSettings
from worker.state.batching import Batcher
from worker.state.clock import StateClock
from worker.state.database import Database, open_database
from worker.state.schema import check_schema, migrate
from worker.state.fence import FenceStore
from worker.state.ledger import Ledger, Settlement
from worker.state.lookup import BatchedLookup, Lookup, Question
from worker.state.now import db_now
from worker.state.operating import Operating
from worker.state.people import People
from worker.state.persons import Persons
from worker.state.projection import Projector
from worker.telemetry import metrics
from worker.policy.consent import Scope, SuppressedFor
from worker.state.suppressing import Suppressing, SuppressionRow
from worker.state.tables import (
    OLDEST_SERVED, SERVES, accounts, consents, contacts, deferred, facts, handled_letters, ledger, metadata, person_keys,
    projections, seen_events,
)  # fmt: skip
from worker.state.upkeep import Upkeep
from worker.state.waiting import SeenEvents, Waiting

CONTACT = PEPPER.name("contact", "c-1")
PERSON = PEPPER.name("phone", "+33612345678")
offsets = iter(range(1_000_000))


def change(event_type: str, at: float, recipient=None, **changes) -> Change:
    its = EVENTS[event_type].model_validate(data(event_type, recipient, **changes))
    return Change(its, at, f"e-{at}", record("customers.events", b"{}", offset=next(offsets)), "/crm", "{}")


def message_id() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def people(database: Database) -> People:
    return People(database, RING)


@pytest.fixture
async def projector(database: Database, people: People) -> Projector:
    its = Projector(database, people, PEPPER)
    await its.caught_up({("customers.events", 0): 0.0})
    return its


@pytest.fixture
async def fences(database: Database) -> FenceStore:
    store = FenceStore(database, "me", 60)
    await store.open_account("a")
    await fill(database)
    return store


async def fill(database: Database, tokens: float = 1e6) -> None:
    async with database.transaction() as connection:
        await connection.execute(sa.text("UPDATE accounts SET tokens = :tokens"), {"tokens": tokens})


BIG = account(segments_per_second=1e6, max_in_flight=10_000)


async def test_a_contact_is_replaced_only_by_a_newer_one(projector: Projector, people: People) -> None:
    await projector.project([change("contact.updated", 2.0, first_name="Zoé")])
    await projector.project([change("contact.updated", 1.0, first_name="Old")])

    contact = (await people.load([CONTACT]))[CONTACT].contact

    assert (contact.first_name, contact.phone, contact.person, contact.country) == ("Zoé", "+33612345678", PERSON, "FR")


async def test_an_erased_contact_is_forgotten_and_an_older_update_does_not_bring_it_back(
    projector: Projector, people: People
) -> None:
    await projector.project([change("contact.updated", 1.0)])
    sealed_before = (await people.load([CONTACT]))[CONTACT].key.seal(b"a message under way")

    await projector.project([change("contact.erased", 2.0), change("contact.updated", 1.5)])
    known = (await people.load([CONTACT], create_keys=True))[CONTACT]

    assert known.contact is None
    with pytest.raises(Erased):
        known.key.open(sealed_before)


@pytest.mark.parametrize("grant_first", [True, False])
async def test_consent_by_contact_id_finds_its_number_in_either_order_of_arrival(
    projector, fences, grant_first: bool
) -> None:
    changes = [change("consent.granted", 1.0), change("contact.updated", 1.0)]
    for one in changes if grant_first else reversed(changes):
        await projector.project([one])

    (reply,) = await fences.pass_through(
        "a", BIG, [ask(message_id(), person=PERSON, purpose="offers", lane=Lane.MARKETING)]
    )

    assert isinstance(reply, Claimed)


async def test_acts_at_one_place_of_a_topic_that_was_made_again_are_all_kept(projector, database) -> None:
    """A consent topic is deleted and made again, or another Kafka is taken, and the database stays."""
    first = change("consent.revoked", 5.0, {"phone": "+33611111111"})
    second = change("consent.revoked", 6.0, {"phone": "+33622222222"})
    forgotten = replace(change("contact.erased", 7.0), record=first.record)

    for one in (first, replace(second, record=first.record), change("contact.updated", 1.0), forgotten):
        await projector.project([one])
    async with database.reading() as connection:
        rows = (await connection.execute(sa.select(consents.c.person, consents.c.act).order_by(consents.c.at))).all()

    assert [tuple(row) for row in rows] == [
        (PEPPER.name("phone", "+33611111111"), Act.REVOKED),
        (PEPPER.name("phone", "+33622222222"), Act.REVOKED),
        (PERSON, Act.ERASED),
    ]


async def test_a_withdrawal_that_comes_again_elsewhere_is_the_same_act_and_another_with_its_id_is_another(
    projector, database
) -> None:
    who = {"phone": "+33612345678"}
    one = change("consent.revoked", 5.0, who)
    moved = replace(one, record=record("customers.events", b"{}", offset=999_999))
    reused = replace(one, at=8.0, content="another")

    await projector.project([one, moved, reused])
    async with database.reading() as connection:
        rows = (await connection.execute(sa.select(consents.c.at).order_by(consents.c.at))).all()

    assert [row.at for row in rows] == [5.0, 8.0]


async def test_a_withdrawal_that_a_version_before_wrote_is_known_again_by_its_place(projector, database) -> None:
    one = change("consent.revoked", 5.0, {"phone": "+33612345678"})
    await projector.project([one])
    async with database.transaction() as connection:
        await connection.execute(consents.update().values(source=None, content=None))

    await projector.project([one])
    async with database.reading() as connection:
        count = await connection.scalar(sa.select(sa.func.count()).select_from(consents))

    assert count == 1


async def test_a_yes_from_the_future_overrules_no_later_no(projector, database, fences) -> None:
    now = await _database_now(database)
    who = {"phone": "+33612345678"}
    counted = metrics.EVENT_TIMES.labels("projected_ahead")._value.get()
    await projector.project([change("consent.granted", now + 200.0, who)])
    await projector.project([change("consent.revoked", now + 5.0, who)])

    (reply,) = await fences.pass_through(
        "a", BIG, [ask(message_id(), person=PERSON, purpose="offers", lane=Lane.MARKETING)]
    )

    assert isinstance(reply, Settled)
    assert metrics.EVENT_TIMES.labels("projected_ahead")._value.get() == counted + 1


async def test_a_contact_from_the_future_is_forgotten_all_the_same(projector, database, people) -> None:
    now = await _database_now(database)
    await projector.project([change("contact.updated", now + 200.0)])
    await projector.project([change("contact.erased", now + 5.0)])

    assert CONTACT not in await people.load([CONTACT])


async def test_an_erasure_that_is_read_again_does_not_forget_who_came_back(projector, people) -> None:
    erased = change("contact.erased", 2.0)
    await projector.project([change("contact.updated", 1.0), erased, change("contact.updated", 3.0)])

    await projector.project([replace(erased, at=9.0)])  # its own time cannot be, so it counts from when it is read

    assert (await people.load([CONTACT]))[CONTACT].contact is not None


async def test_every_number_of_somebody_who_is_forgotten_is_withdrawn(projector, database) -> None:
    await projector.project([change("contact.updated", 1.0), change("contact.erased", 2.0, phone="+33699999999")])
    async with database.reading() as connection:
        rows = (await connection.execute(sa.select(consents.c.person, consents.c.act))).all()

    assert {tuple(row) for row in rows} == {
        (PERSON, Act.ERASED),
        (PEPPER.name("phone", "+33699999999"), Act.ERASED),
    }


async def test_a_batch_of_contacts_costs_as_many_statements_as_a_few(database, projector) -> None:
    asked: list[str] = []
    sa.event.listen(database._engine.sync_engine, "before_cursor_execute", lambda *its: asked.append(its[2]))
    changes = [
        one
        for n in range(200)
        for one in (
            change("contact.updated", 1.0, contact_id=f"c-{n}", phone=f"+336710{n:05}"),
            change("consent.granted", 2.0, {"contact_id": f"c-{n + 1000}"}),
        )
    ]

    await projector.project(changes)

    assert len(asked) < 30  # four for each, before


async def test_a_batch_says_the_same_as_its_changes_one_by_one(database, projector) -> None:
    def changes() -> list[Change]:
        rng = random.Random(7)
        made = []
        for n in range(120):
            at, who = float(rng.randrange(1, 60)), {"contact_id": f"c-{rng.randrange(3)}"}
            kind = rng.choice(["contact.updated"] * 3 + ["contact.erased", "consent.granted", "consent.revoked"])
            if kind.startswith("contact"):
                more = {"phone": f"+3367100000{rng.randrange(3)}"} if kind == "contact.updated" else {}
                made.append(replace(change(kind, at, **who, **more), event_id=f"b-{n}"))
            else:
                made.append(replace(change(kind, at, who), event_id=f"b-{n}"))
        return made

    async def rows() -> list[tuple]:
        columns = (consents.c.subject, consents.c.person, consents.c.act, consents.c.purpose, consents.c.at)
        held = (contacts.c.subject, contacts.c.person, contacts.c.version, contacts.c.sealed.is_(None))
        async with database.transaction() as connection:
            found = [tuple(row) for row in await connection.execute(sa.select(*columns))]
            found += [tuple(row) for row in await connection.execute(sa.select(*held))]
            for table in (consents, contacts, person_keys):
                await connection.execute(table.delete())
        return sorted(found, key=repr)

    await projector.project(changes())
    together = await rows()
    for one in changes():
        await projector.project([one])

    assert together == await rows()


async def _database_now(database: Database) -> float:
    async with database.reading() as connection:
        return await connection.scalar(sa.select(db_now()))


async def test_partitions_that_are_gone_hold_marketing_no_more(projector, database) -> None:
    """The control topic was made again, with fewer."""
    await projector.caught_up({("customers.events", n): 5_000.0 for n in range(6)})

    await projector.caught_up(
        {("customers.events", n): 0.0 for n in range(3)}, {("customers.events", n) for n in range(3)}
    )
    async with database.reading() as connection:
        left = (await connection.execute(sa.select(projections.c.partition))).all()

    assert sorted(row.partition for row in left) == [0, 1, 2]


async def test_a_skip_is_of_one_record_and_not_of_another_at_its_place(database) -> None:
    operating, place = Operating(database), Place("orders.events", 0, 7)
    await operating.skip(place, Skip("poison", 1_000), "operator")
    await operating.skipped(place)
    operations = Operations(operating, SystemClock())
    await operations.hear()

    assert operations.given_up(record("orders.events", offset=7, timestamp_ms=1_000)) is not None
    assert operations.given_up(record("orders.events", offset=7, timestamp_ms=2_000)) is None

    await operating.skip(place, Skip("poison again", 2_000), "operator")
    assert not await operating.was_skipped(place)
    await operations.hear()
    assert operations.given_up(record("orders.events", offset=7, timestamp_ms=2_000)) is not None


async def test_all_that_is_kept_of_somebody_with_everything_is_json(projector, database, people) -> None:
    """The right of access: whoever has a suppression or something waiting, too."""
    one = change("consent.granted", 2.0)
    one = replace(one, record=record("customers.events", b'{"wording": "Oui"}', offset=7, headers=(("ce_id", b"e"),)))
    await projector.project([change("contact.updated", 1.0), one, change("consent.revoked", 3.0)])
    rows = [SuppressionRow(PERSON, Scope.MARKETING, reason) for reason in (SuppressedFor.STOP, SuppressedFor.COMPLAINT)]
    await Suppressing(database).add(rows)
    await Suppressing(database).remove(PERSON, Scope.MARKETING, SuppressedFor.COMPLAINT)
    async with database.transaction() as connection:
        values = {"message_id": message_id(), "step": 1, "lane": "marketing", "due": 9.0, "reason": "delayed",
                  "template": "t", "recipient": CONTACT, "message": b"{}"}  # fmt: skip
        await connection.execute(deferred.insert().values(**values))

    person = await Persons(database, people).read(PERSON)
    told = orjson.loads(orjson.dumps(asdict(person)))

    assert [len(told[name]) for name in ("contacts", "acts", "suppressions", "past_suppressions", "waiting")] == [
        1, 2, 1, 1, 1,
    ]  # fmt: skip
    assert (told["acts"][0]["record"], told["acts"][0]["headers"]) == ({"wording": "Oui"}, {"ce_id": "e"})


@pytest.mark.parametrize("back_s", [3600.0, 262.0])
async def test_a_clock_that_was_set_back_stops_nobody(fences, database, back_s: float) -> None:
    """Bucket, hold and the lease of a dead process were stored by a clock that is ahead of the one that counts now."""
    async with database.transaction() as connection:
        now = await connection.scalar(sa.select(db_now()))
        await connection.execute(
            accounts.update().values(refilled_at=now + back_s, held_until=now + back_s - 1.0, tokens=10.0)
        )
        row = {"message_id": message_id(), "fingerprint": "f", "state": "claimed", "attempt": 1, "reuse": False,
               "holder": "dead:1", "account": "a", "lease_until": now + back_s - 1.0, "ambiguous": False, "updated_at": now}  # fmt: skip
        await connection.execute(ledger.insert().values(**row))

    (reply,) = await fences.pass_through("a", account(max_in_flight=1), [ask(message_id())])

    assert isinstance(reply, Claimed)


async def test_a_hold_goes_on_for_what_is_left_of_it_when_the_clock_is_set_back(fences, database) -> None:
    async with database.transaction() as connection:
        now = await connection.scalar(sa.select(db_now()))
        await connection.execute(
            accounts.update().values(refilled_at=now + 3600.0, held_until=now + 3700.0, tokens=10.0)
        )

    (reply,) = await fences.pass_through("a", account(), [ask(message_id())])

    assert isinstance(reply, Wait)
    assert reply.why == "held"


async def test_what_a_dead_mover_took_by_a_clock_that_is_no_more_is_taken_again(database) -> None:
    async with database.transaction() as connection:
        now = await connection.scalar(sa.select(db_now()))
        values = {"message_id": message_id(), "step": 1, "lane": "marketing", "due": now - 9.0, "reason": "delayed",
                  "template": "t", "recipient": CONTACT, "message": b"{}", "taken_until": now + 3600.0}  # fmt: skip
        await connection.execute(deferred.insert().values(**values))

    assert len(await Waiting(database).take(Lane.MARKETING, 10)) == 1


async def test_a_withdrawal_written_twice_changes_nothing_and_keeps_its_record_as_proof(projector, database) -> None:
    one = change("consent.revoked", 5.0, {"phone": "06 12 34 56 78"})
    await projector.project([one, one])

    async with database.reading() as connection:
        rows = (await connection.execute(sa.select(consents))).all()

    assert [(row.person, row.act, row.purpose, row.at) for row in rows] == [(PERSON, Act.REVOKED, "*", 5.0)]
    assert b"612345678" not in rows[0].sealed


async def test_no_table_holds_a_number_or_a_name(projector, database, fences) -> None:
    await projector.project(
        [change("contact.updated", 1.0, first_name="Rumpelstiltskin"), change("consent.granted", 1.0)]
    )
    await fences.pass_through("a", BIG, [ask(message_id(), person=PERSON)])

    async with database.reading() as connection:
        for table in metadata.sorted_tables:
            for row in await connection.execute(sa.select(table)):
                flat = b"|".join(v if isinstance(v, bytes) else str(v).encode() for v in row)
                assert b"612345678" not in flat
                assert b"Rumpelstiltskin" not in flat


async def test_the_bucket_starts_empty_and_fills_by_the_database_s_clock(database: Database) -> None:
    store = FenceStore(database, "me", 60)
    await store.open_account("new")

    (first,) = await store.pass_through("new", account(segments_per_second=5), [ask(message_id(), person=None)])
    await asyncio.sleep(1.2)
    (second,) = await store.pass_through("new", account(segments_per_second=5), [ask(message_id(), person=None)])

    assert isinstance(first, Wait)
    assert isinstance(second, Claimed)


async def test_a_claim_is_settled_once_by_its_holder_alone(fences: FenceStore, database: Database) -> None:
    its, identity = Ledger(database), message_id()
    (claimed,) = await fences.pass_through("a", BIG, [ask(identity, holder="me:1")])

    def settlement(holder: str, answer: Answer, payload: bytes) -> Settlement:
        row = replace(claimed.entry, holder=holder)
        return Settlement(claimed=row, answer=answer, burns=False, outcome=lambda _: payload)

    (stranger,) = await its.settle([settlement("other:1", Answer.ACCEPTED, b"lie")])
    (mine,) = await its.settle([settlement("me:1", Answer.ACCEPTED, b"true")])
    (again,) = await its.settle([settlement("me:1", Answer.RECIPIENT_REFUSED, b"late")])

    assert stranger is None
    assert (mine.state, mine.outcome) == (State.SENT, b"true")
    assert (again.state, again.outcome) == (State.SENT, b"true")
    assert await fences.pass_through("a", BIG, [ask(identity)]) == [Settled(b"true")]


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_of_several_settlements_of_one_message_only_the_holders_is_written(
    fences: FenceStore, database: Database, place: int
) -> None:
    identity = message_id()
    (claimed,) = await fences.pass_through("a", BIG, [ask(identity, holder="me:1")])
    strangers = [replace(claimed.entry, holder=f"other:{n}") for n in range(2)]
    rows = [*strangers[:place], claimed.entry, *strangers[place:]]
    batch = [
        Settlement(claimed=row, answer=Answer.ACCEPTED, burns=False, outcome=lambda _, row=row: row.holder.encode())
        for row in rows
    ]

    settled = await Ledger(database).settle(batch)

    assert settled[place].outcome == b"me:1"
    assert await fences.pass_through("a", BIG, [ask(identity)]) == [Settled(b"me:1")]


async def test_a_stop_that_is_committed_is_obeyed_by_the_very_next_fence(projector, fences) -> None:
    await projector.project([change("contact.updated", 1.0), change("consent.granted", 1.0)])
    its = {"person": PERSON, "purpose": "offers", "lane": Lane.MARKETING}
    (before,) = await fences.pass_through("a", BIG, [ask(message_id(), **its)])

    await projector.project([change("consent.revoked", 2.0)])
    (after,) = await fences.pass_through("a", BIG, [ask(message_id(), **its)])

    assert isinstance(before, Claimed)
    assert after == Settled(b"suppressed:consent_revoked")


async def test_a_hold_is_for_every_process_and_never_gets_shorter(fences: FenceStore, database: Database) -> None:
    await fences.hold("a", 30, "no_credit")
    await fences.hold("a", 1, "rate_limited")

    (reply,) = await FenceStore(database, "another", 60).pass_through("a", BIG, [ask(message_id())])

    assert isinstance(reply, Wait)
    assert reply.why == "held"


async def test_one_database_has_one_pepper(database: Database) -> None:
    await database.claim_identity("shop", PEPPER)
    await database.claim_identity("shop", PEPPER)

    with pytest.raises(ConfigurationError, match="every STOP in it would be lost"):
        await database.claim_identity("shop", Pepper(b"another pepper, as long"))


async def test_a_schema_of_another_version_refuses_to_start(database: Database, database_url: str) -> None:
    await check_schema(database, database_url)
    async with database.transaction() as connection:
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = '0000'"))

    with pytest.raises(ConfigurationError, match="sms-worker db upgrade"):
        await check_schema(database, database_url)


async def test_a_sqlite_file_belongs_to_one_process(tmp_path) -> None:
    settings = DatabaseSettings(url=f"sqlite+aiosqlite:///{tmp_path}/one.db")
    async with open_database(settings):
        with pytest.raises(ConfigurationError, match="another worker has this SQLite file"):
            async with open_database(settings):
                pass


@pytest.mark.postgres
async def test_three_processes_share_one_rate_and_one_limit_exactly(postgres, tmp_path) -> None:
    """Three stores with connections of their own ask as fast as they can for two seconds."""
    url = postgres.new_database()
    await asyncio.to_thread(migrate, url)
    its = account(segments_per_second=20, max_in_flight=15)
    claims: list[tuple[float, str, str]] = []
    clock = asyncio.get_running_loop().time

    async def process(name: str, ends: float) -> None:
        async with open_database(DatabaseSettings(url=url, pool=3)) as database:
            store, book = FenceStore(database, name, 60), Ledger(database)
            await store.open_account("a")
            while clock() < ends:
                asks = in_order([ask(message_id(), holder=f"{name}:{n}", person=f"p{n}") for n in range(8)])
                replies = await store.pass_through("a", its, asks)
                claimed = [reply.entry for reply in replies if isinstance(reply, Claimed)]
                claims.extend((clock(), one.message_id, name) for one in claimed)
                answers = [
                    Settlement(
                        claimed=o,
                        answer=Answer.ACCEPTED,
                        burns=False,
                        outcome=lambda _: b"",
                    )
                    for o in claimed
                ]
                if answers:
                    await book.settle(answers)

    began = clock()
    await asyncio.gather(*(process(name, began + 2) for name in ("one", "two", "three")))

    assert len({identity for _, identity, _ in claims}) == len(claims)
    assert 20 <= len(claims) <= 2.5 * 20 + 20
    assert {name for _, _, name in claims} == {"one", "two", "three"}
    async with open_database(DatabaseSettings(url=url)) as database, database.reading() as connection:
        states = (await connection.execute(sa.select(ledger.c.state, sa.func.count()).group_by(ledger.c.state))).all()
    assert states == [(State.SENT, len(claims))]


async def test_an_erasure_delivered_again_forgets_nothing_that_came_after_it(projector, people, fences) -> None:
    erased = change("contact.erased", 2.0, phone="+33612345678")
    await projector.project([change("contact.updated", 1.0), erased])
    await projector.project([change("consent.granted", 3.0, {"phone": "+33612345678"})])
    before = (await people.load([PERSON]))[PERSON].key

    await projector.project([erased])

    assert (await people.load([PERSON]))[PERSON].key.key_id == before.key_id


async def test_an_erasure_wins_a_tie_with_the_contact_it_erases(projector, people) -> None:
    await projector.project([change("contact.updated", 2.0), change("contact.erased", 2.0)])

    assert (await people.load([CONTACT], create_keys=True))[CONTACT].contact is None


async def test_a_value_that_never_fits_is_refused_and_its_neighbours_are_answered(database, people) -> None:
    """A lane's record with a NUL in it reaches the shared look-up: PostgreSQL refuses it, and only whoever asked is told."""
    batcher = Batcher("lookup", Lookup(database, people).find)
    running = asyncio.create_task(batcher.run())
    questions = [Question(message_id(), "a"), Question(message_id(), "b\x00"), Question(message_id(), "c")]

    answers = await asyncio.wait_for(asyncio.gather(*map(batcher.ask, questions), return_exceptions=True), 10)
    running.cancel()

    assert [answer.entry for answer in (answers[0], answers[2])] == [None, None]
    assert isinstance(answers[1], StateRefused) is database.is_postgresql


@pytest.mark.postgres
@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("SET TRANSACTION READ ONLY; INSERT INTO facts VALUES ('a', 'b')", id="a read-only server"),
        pytest.param("SELECT * FROM not_there", id="a missing table"),
        pytest.param("SELECT pg_terminate_backend(pg_backend_pid())", id="a connection that was ended"),
        pytest.param("DO $$ BEGIN RAISE SQLSTATE '28P01'; END $$", id="a password that was changed"),
        pytest.param("DO $$ BEGIN RAISE SQLSTATE '42501'; END $$", id="a privilege that was taken"),
        pytest.param("DO $$ BEGIN RAISE SQLSTATE 'XX000'; END $$", id="an internal error"),
    ],
)
async def test_what_somebody_will_mend_holds_and_never_dead_letters(postgres, statement: str) -> None:
    url = postgres.new_database()
    await asyncio.to_thread(migrate, url)
    async with open_database(DatabaseSettings(url=url)) as database:
        with pytest.raises(StateUnavailable):
            async with database.transaction() as connection:
                for one in statement.split("; ") if "DO" not in statement else [statement]:
                    await connection.execute(sa.text(one))


async def test_contacts_are_known_once_every_partition_has_been_read_by_whichever_process(database: Database) -> None:
    """Three workers that start together read a partition each, and none may go on by its own alone."""
    its = Projector(database, People(database, RING), PEPPER)
    topics, everything = ["customers"], {("customers", 0), ("customers", 1)}
    clock = StateClock(SystemClock(), database)
    await clock.set()
    since = clock.now().timestamp()

    first = await its.begin(topics)
    await its.caught_up({("customers", 0): 0.0})
    one = await its.read_once(everything, since)
    await its.caught_up({("customers", 1): 60.0})
    behind = await its.read_once(everything, since)
    await its.caught_up({("customers", 1): 0.0})
    both = await its.read_once(everything, since)

    assert (first, one, behind, both) == (True, False, False, True)
    assert not await its.begin(topics)


@pytest.mark.postgres
async def test_a_code_waits_for_nobody_s_connection_to_the_database(postgres) -> None:
    """Everything else has every connection of the pool, and keeps it."""
    url = postgres.new_database()
    await asyncio.to_thread(migrate, url)
    async with open_database(DatabaseSettings(url=url, pool=3)) as database, AsyncExitStack() as others:
        lookup = BatchedLookup(database, People(database, RING))
        answering = asyncio.create_task(lookup.run())
        for _ in range(3):
            await others.enter_async_context(database.transaction())
        offer = asyncio.create_task(lookup.find(builders.message(lane=Lane.MARKETING)))
        await asyncio.sleep(0.2)

        code = await asyncio.wait_for(lookup.find(builders.message(lane=Lane.URGENT)), 5)

        assert code.entry is None
        assert not offer.done()
        offer.cancel()
        answering.cancel()


async def test_what_is_over_is_forgotten_and_nothing_else(database: Database) -> None:
    """The keys of days whose dead letters are gone, with what they sealed; and notes about records that are gone."""
    people, operating, upkeep = People(database, RING), Operating(database), Upkeep(database)
    await people.load(["day:2026-10-01", "day:2026-11-23", "somebody"], create_keys=True)
    await operating.mark_handled({Place("sms.router.dlq", 0, n): 1 for n in (1, 2)}, "run")
    await SeenEvents(database).remember([("old", 1.0), ("new", 2e9)])
    async with database.transaction() as connection:
        long_ago = {"at": 1.0}
        await connection.execute(handled_letters.update().where(handled_letters.c.offset == 1).values(**long_ago))
        await connection.execute(seen_events.update().where(seen_events.c.name == "old").values(recorded_at=1.0))

    deleted = await upkeep.run_once(builders.NOW)

    others = dict.fromkeys(("skips", "cancellations", "code_numbers", "guards", "tallies", "processes"), 0)
    assert deleted == {"person_keys": 1, "handled_letters": 1, "seen_events": 1, **others}
    assert set(await people.load(["day:2026-10-01", "day:2026-11-23", "somebody"])) == {"day:2026-11-23", "somebody"}
    assert await operating.handled("sms.router.dlq", 0) == {2: 1}


async def test_a_connection_that_is_closed_under_a_writer_is_a_database_that_does_not_answer(
    database: Database,
) -> None:
    """uvloop says so by a RuntimeError, which no driver translates; other RuntimeErrors are mistakes of ours."""
    cut = "unable to perform operation on <TCPTransport closed=True reading=False 0x1>; the handler is closed"
    with pytest.raises(StateUnavailable):
        async with database.reading():
            raise RuntimeError(cut)
    with pytest.raises(RuntimeError, match="a mistake"):
        async with database.transaction():
            raise RuntimeError("a mistake")


async def test_a_stop_never_replaces_a_complaint_and_a_list_without_times_changes_nothing_the_second_time(
    database,
) -> None:
    suppressing = Suppressing(database)
    row = SuppressionRow("p-1", Scope.MARKETING, SuppressedFor.COMPLAINT, 10.0)

    await suppressing.add([row])
    await suppressing.add([replace(row, reason=SuppressedFor.STOP, at=20.0)])
    await suppressing.add([replace(row, reason=SuppressedFor.STOP, at=None), replace(row, at=5.0)])

    assert {(one.reason, one.at) for one in await suppressing.of("p-1")} == {("complaint", 10.0), ("stop", 20.0)}
    assert len(await suppressing.remove("p-1", Scope.MARKETING)) == 2


async def at_revision(database: Database, revision: str, serves: str | None) -> None:
    """As another version's migrations leave it."""
    async with database.transaction() as connection:
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = :v"), {"v": revision})
        await connection.execute(facts.delete().where(facts.c.name == SERVES))
        if serves is not None:
            await connection.execute(facts.insert().values(name=SERVES, value=serves))


async def test_a_newer_schema_is_right_as_long_as_it_serves_this_version_too(database, database_url) -> None:
    async with database.reading() as connection:
        head = await connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
        told = await connection.scalar(sa.select(facts.c.value).where(facts.c.name == SERVES))
    assert told == OLDEST_SERVED <= head
    await check_schema(database, database_url)

    await at_revision(database, "9999", head)
    await check_schema(database, database_url)
    await asyncio.to_thread(migrate, database_url)  # of the older worker: leaves it as it is
    await check_schema(database, database_url)
    for revision, serves, needs in (
        ("9999", "9998", "upgrade the worker"), ("9999", None, "upgrade the worker"), ("0001", head, "db upgrade"),
    ):  # fmt: skip
        await at_revision(database, revision, serves)
        with pytest.raises(ConfigurationError, match=needs):
            await check_schema(database, database_url)


@pytest.mark.postgres
async def test_the_worker_of_before_works_on_while_and_after_the_next_one_s_schema_is_made(postgres) -> None:
    """The tables as the last version left them, its statements meanwhile, and every index there at the end."""
    url = postgres.new_database()
    await asyncio.to_thread(migrate, url)
    async with open_database(DatabaseSettings(url=url)) as database:
        async with database.transaction() as connection:
            for statement in ("DROP TABLE jobs", "DROP TABLE signs", "DROP INDEX ledger_open"):
                await connection.execute(sa.text(statement))
        await at_revision(database, "0011", None)
        store = FenceStore(database, "old", 60)
        await store.open_account("a")
        async with database.transaction() as connection:
            await connection.execute(sa.text("UPDATE accounts SET tokens = 1e6"))
        stop, claimed = asyncio.Event(), 0

        async def works() -> None:
            nonlocal claimed
            while not stop.is_set():
                (reply,) = await store.pass_through("a", BIG, [ask(message_id(), person=PERSON)])
                claimed += isinstance(reply, Claimed)

        working = asyncio.create_task(works())
        await asyncio.to_thread(migrate, url)
        before = claimed
        await asyncio.sleep(0.3)
        stop.set()
        await working
        await check_schema(database, url)
        async with database.reading() as connection:
            valid = await connection.scalar(
                sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = 'ledger_open'::regclass")
            )

    assert claimed > before > 0
    assert valid is True


@pytest.mark.postgres
async def test_upgrades_that_come_together_or_again_after_one_was_broken_off_all_succeed(postgres) -> None:
    url = postgres.new_database()
    await asyncio.to_thread(migrate, url)
    async with open_database(DatabaseSettings(url=url)) as database:
        for tables_there in (False, True):  # the second: one was killed while it built the index
            async with database.transaction() as connection:
                await connection.execute(sa.text("DROP INDEX IF EXISTS ledger_open"))
                if not tables_there:
                    for table in ("jobs", "signs"):
                        await connection.execute(sa.text(f"DROP TABLE {table}"))
            await at_revision(database, "0011", None)

            await asyncio.gather(*(asyncio.to_thread(_in_a_process, url) for _ in range(3)))

            await check_schema(database, url)
            async with database.reading() as connection:
                valid = sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = 'ledger_open'::regclass")
                assert await connection.scalar(valid) is True


def _in_a_process(url: str) -> None:
    """Alembic keeps its context in the module: several upgrades are several processes."""
    script = f"from worker.state.schema import migrate; migrate({url!r})"
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=120)
