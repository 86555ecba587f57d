"""How long what is known of people is kept, and what is still known of a day that is past."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from schemas.events import EVENTS
from schemas.messages import Lane
from tests.builders import PEPPER, RING, account, ask, data, record
from worker.delivery.asks import Claimed, Settled
from worker.people import Change
from worker.policy.consent import Scope, SuppressedFor
from worker.policy.rules import RetentionRules
from worker.answers.proving import verdicts_at
from worker.sealing import Erased
from worker.state.database import Database
from worker.clock import SystemClock
from worker.state.fence import FenceStore
from worker.state.jobs import Job, Jobs
from worker.state.people import People
from worker.state.persons import Persons
from worker.state.projection import Projector
from worker.state.pruning import Pruning
from worker.state.retention import Retention
from worker.state.suppressing import Suppressing, SuppressionRow
from worker.state.tables import consents, contacts, deferred, ledger, numbers, person_keys, signs
from worker.state.snapshots import Snapshot
from worker.state.telling import Telling

PERSON, CONTACT = PEPPER.name("phone", "+33612345678"), PEPPER.name("contact", "c-1")
BIG = account(segments_per_second=1e6, max_in_flight=10_000)
DAY_S, NOW = 86_400.0, datetime.now(UTC)
OLD = (NOW - timedelta(days=1_200)).timestamp()
places = iter(range(1_000_000))


def change(event_type: str, at: float, recipient=None, **changes) -> Change:
    its = EVENTS[event_type].model_validate(data(event_type, recipient, **changes))
    return Change(its, at, f"e-{at}", record("customers.events", b"{}", offset=next(places)), "/crm", "{}")


@pytest.fixture
def people(database: Database) -> People:
    return People(database, RING)


@pytest.fixture
def projector(database: Database, people: People) -> Projector:
    return Projector(database, people, PEPPER)


async def asked(database: Database, projector: Projector, **changes) -> object:
    """Return what the fence says of an offer to the number."""
    await projector.caught_up({("customers.events", 0): 0.0})
    fences = FenceStore(database, "me", 60)
    await fences.open_account("a")
    async with database.transaction() as connection:
        await connection.execute(sa.text("UPDATE accounts SET tokens = 1e6"))
    one = ask(
        f"11111111-1111-5111-8111-{next(places):012}", person=PERSON, purpose="offers", lane=Lane.MARKETING, **changes
    )
    (reply,) = await fences.pass_through("a", BIG, [one])
    return reply


async def test_who_is_forgotten_has_withdrawn_for_their_number_too_until_they_agree_again(database, projector) -> None:
    phone = {"phone": "+33612345678"}
    await projector.project([change("contact.updated", 1.0), change("consent.granted", 2.0, phone)])
    before = await asked(database, projector)
    await projector.project([change("contact.erased", 3.0)])
    after = await asked(database, projector)
    await projector.project([change("consent.granted", 4.0, phone)])
    again = await asked(database, projector)

    assert isinstance(before, Claimed)
    assert isinstance(after, Settled)
    assert b"consent_revoked" in after.payload
    assert isinstance(again, Claimed)


async def age(database: Database, days: float) -> None:
    """Let everything have been written *days* ago."""
    async with database.transaction() as connection:
        await connection.execute(person_keys.update().values(created_at=person_keys.c.created_at - days * DAY_S))
        await connection.execute(consents.update().values(recorded_at=consents.c.recorded_at - days * DAY_S))


async def forget(job: Retention) -> int:
    return sum([await job.forget(one, "run") async for piece in job.prospects() for one in piece])


@pytest.mark.parametrize(
    ("sign", "forgotten"),
    [(None, 1), ("agreed", 0), ("updated", 0), ("was texted what they asked for", 0), ("was advertised to", 1)],
)
async def test_a_prospect_is_forgotten_three_years_after_their_last_sign(
    database, projector, people, sign: str | None, forgotten: int
) -> None:
    lately = (NOW - timedelta(days=1_000)).timestamp()
    await projector.project([change("contact.updated", OLD), change("consent.granted", OLD)])
    sealed = (await people.load([CONTACT]))[CONTACT].key.seal(b"theirs")
    if sign == "agreed":
        await projector.project([change("consent.granted", lately)])
    if sign == "updated":
        await projector.project([change("contact.updated", lately)])
    if sign is not None and sign.startswith("was"):
        scope = "transactional:order_shipped:" if "asked" in sign else "marketing:offers:"
        async with database.transaction() as connection:
            row = {"message_id": "11111111-1111-5111-8111-111111111111", "fingerprint": "f", "state": "sent"}
            rest = {"attempt": 1, "reuse": False, "ambiguous": False, "updated_at": lately, "claimed_at": lately}
            await connection.execute(ledger.insert().values(**row, **rest, person=PERSON, scope=scope))
    await age(database, 1_200)
    job = Retention(database, RetentionRules())

    assert await forget(job) == forgotten
    assert await forget(job) == 0
    known = (await people.load([CONTACT], create_keys=True))[CONTACT]
    assert (known.contact is None) == bool(forgotten)
    if forgotten:
        with pytest.raises(Erased):
            known.key.open(sealed)


def row(state: str, days: float, scope: str = "transactional:order_shipped:") -> dict:
    """A ledger row whose message ended so many *days* ago."""
    at = (NOW - timedelta(days=days)).timestamp()
    its = {
        "message_id": f"11111111-1111-5111-8111-{next(places):012}",
        "fingerprint": "f",
        "state": state,
        "attempt": 1,
    }
    return {
        **its,
        "reuse": False,
        "ambiguous": False,
        "updated_at": at,
        "claimed_at": at,
        "person": PERSON,
        "scope": scope,
    }


async def test_a_ledger_keeps_what_could_still_be_asked_for_and_what_proves_and_the_last_sign_of_a_person(
    database, projector, people
) -> None:
    offers = "marketing:offers:"
    stay = [row("sent", 80), row("released", 400), row("in_doubt", 400), row("claimed", 400),
            row("sent", 400, offers), row("unknown", 400, offers)]  # fmt: skip
    go = [row("sent", 100), row("expired", 100), row("suppressed", 400, offers), row("sent", 2_000, offers)]
    async with database.transaction() as connection:
        await connection.execute(ledger.insert(), [*stay, *go])
    pruning = Pruning(database, RetentionRules())

    told = sum([count async for count in pruning.run(delete=False)])
    deleted = sum([count async for count in pruning.run(delete=True)])
    again = sum([count async for count in pruning.run(delete=True)])
    async with database.reading() as connection:
        left = (await connection.scalars(sa.select(ledger.c.message_id))).all()
        signed = (await connection.execute(sa.select(signs))).all()

    async with database.transaction() as connection:
        for person, years in (("old", 4), ("young", 1)):
            at = NOW.timestamp() - years * 365 * DAY_S
            await connection.execute(signs.insert().values(person=person, at=at))
            await connection.execute(numbers.insert().values(person=person, line="dead", checked_at=at))
    forgotten = await pruning.forget()

    assert (told, deleted, again, forgotten) == (4, 4, 0, 2)
    assert {str(one) for one in left} == {one["message_id"] for one in stay}
    assert [(one.person, one.at) for one in signed] == [(PERSON, go[0]["claimed_at"])]


@pytest.mark.parametrize(("signed_days", "forgotten"), [(100, 0), (1_150, 1)])
async def test_a_sign_whose_ledger_row_is_gone_still_counts(
    database, projector, signed_days: float, forgotten: int
) -> None:
    await projector.project([change("contact.updated", OLD)])
    await age(database, 1_200)
    async with database.transaction() as connection:
        await connection.execute(ledger.insert(), [row("sent", signed_days)])
    async for _ in Pruning(database, RetentionRules()).run(delete=True):
        pass

    assert await forget(Retention(database, RetentionRules())) == forgotten
    async with database.reading() as connection:
        assert len((await connection.execute(sa.select(signs))).all()) == 1 - forgotten


async def test_how_the_deployment_stands_is_told_alike_by_every_process(database, projector) -> None:
    await projector.caught_up({("customers.events", 0): 7.0})
    await FenceStore(database, "me", 60).open_account("a")
    soon = NOW.timestamp()
    rows = [{"message_id": row("x", 0)["message_id"], "step": 1, "lane": "marketing", "due": soon + wait, "reason": reason,
             "template": "t", "recipient": "r", "message": b""}
            for wait, reason in ((-60, "flood"), (10_000, "delayed"), (10_000, "outside_hours"), (2 * DAY_S, "delayed"))]  # fmt: skip
    claims = [{**row("claimed", 0), "account": "a", "lease_until": soon + lease} for lease in (600, -600)]
    async with database.transaction() as connection:
        await connection.execute(deferred.insert(), rows)
        await connection.execute(ledger.insert(), claims)
        await connection.execute(ledger.insert(), [row("released", 0), row("sent", 0)])
        await connection.execute(sa.text("UPDATE accounts SET held_until = 1e12, hold_reason = 'no_credit'"))
    await Jobs(database).expect()
    before = (await Telling(database, SystemClock()).read()).jobs
    await Jobs(database).done(Job.PRUNE)
    told, counts = await Telling(database, SystemClock()).read(), await Telling(database, SystemClock()).count()

    assert counts.by("reason") == {("flood",): 1, ("delayed",): 2, ("outside_hours",): 1}
    assert counts.by("lane", "due") == {("marketing", "overdue"): 1, ("marketing", "3h"): 2, ("marketing", "later"): 1}
    assert counts.open == {"claimed": 1, "in_doubt": 1, "released": 1}
    assert told.held == {"a": "no_credit"}
    assert 7.0 <= told.projection_age_s < 60.0
    assert set(told.jobs) == set(Job)
    assert told.jobs["prune"] > before["prune"]
    assert told.jobs["upkeep"] == before["upkeep"]


async def test_one_process_counts_and_all_of_them_tell(database) -> None:
    counted = list[int]()

    def process(number: int, every_s: float = 3600.0) -> Snapshot:
        async def count() -> str:
            counted.append(number)
            return f"of {number}"

        return Snapshot(database, "counts", every_s, count)

    first = await asyncio.gather(*(process(number).get() for number in range(5)))
    (whose,) = counted
    later = [await process(number).get() for number in range(5, 8)]
    due = await process(9, every_s=0.0).get()

    assert set(first) <= {None, f"of {whose}"}
    assert later == [f"of {whose}"] * 3
    assert (counted, due) == ([whose, 9], "of 9")


async def test_a_number_that_is_a_living_contacts_is_not_a_prospect_of_its_own(database, projector) -> None:
    phone = {"phone": "+33612345678"}
    await projector.project([change("consent.granted", OLD, phone), change("contact.updated", NOW.timestamp())])
    await age(database, 1_200)

    assert await forget(Retention(database, RetentionRules())) == 0


async def test_whoever_came_back_while_the_job_ran_is_not_forgotten(database, projector, people) -> None:
    await projector.project([change("contact.updated", OLD), change("consent.granted", OLD)])
    await age(database, 1_200)
    job = Retention(database, RetentionRules())
    ((found,),) = [piece async for piece in job.prospects()]
    await projector.project([change("contact.updated", NOW.timestamp())])

    assert not await job.forget(found, "run")
    assert (await people.load([CONTACT]))[CONTACT].contact is not None


async def test_whoever_has_a_message_waiting_is_not_forgotten(database, projector) -> None:
    await projector.project([change("contact.updated", OLD)])
    await age(database, 1_200)
    waits = {"message_id": "11111111-1111-5111-8111-111111111111", "step": 1, "lane": "transactional", "due": 1.0}
    async with database.transaction() as connection:
        row = {**waits, "reason": "delayed", "template": "t", "recipient": CONTACT, "message": b"{}"}
        await connection.execute(deferred.insert().values(**row))

    assert await forget(Retention(database, RetentionRules())) == 0


async def test_a_silent_duplicate_takes_nothing_from_the_contact_who_shares_its_number(database, projector) -> None:
    await projector.project([change("contact.updated", OLD), change("contact.updated", OLD, contact_id="c-2")])
    await projector.project([change("consent.granted", OLD, {"contact_id": "c-2"})])
    await age(database, 1_200)
    await projector.project([change("contact.updated", NOW.timestamp(), contact_id="c-2")])

    assert await forget(Retention(database, RetentionRules())) == 1  # c-1 alone, and not the number
    assert isinstance(await asked(database, projector), Claimed)


@pytest.mark.parametrize("objection", ["withdrew", "said STOP"])
async def test_an_objection_follows_its_person_to_another_number(database, projector, objection: str) -> None:
    await projector.project([change("contact.updated", 1.0, phone="+33612345699")])
    old = PEPPER.name("phone", "+33612345699")
    if objection == "withdrew":
        await projector.project([change("consent.revoked", 2.0)])
    else:
        await Suppressing(database).add([SuppressionRow(old, Scope.MARKETING, SuppressedFor.STOP, 2.0)])
    await projector.project([change("contact.updated", 3.0)])
    customer = await asked(database, projector, is_customer=True)
    await projector.project([change("consent.granted", 4.0)])
    agreed = await asked(database, projector)

    assert isinstance(customer, Settled)
    assert isinstance(agreed, Claimed)


async def test_proofs_end_five_years_after_their_person_was_forgotten(database, projector) -> None:
    await projector.project([change("contact.updated", 1.0), change("consent.granted", 2.0)])
    await asked(database, projector)
    async with database.transaction() as connection:
        await connection.execute(ledger.update().values(person=PERSON, scope="marketing:offers:", claimed_at=2.5))
    await projector.project([change("contact.erased", 3.0)])
    job = Retention(database, RetentionRules())

    assert await job.proofs() == []
    await age(database, 1_900)
    over = await job.proofs()
    await job.end(over)

    assert over == [(PERSON, 3.0)]
    async with database.reading() as connection:
        assert (await connection.execute(sa.select(consents))).all() == []
        assert (await connection.execute(sa.select(ledger.c.person, ledger.c.scope))).all() == [(None, None)]
        assert (await connection.execute(sa.select(contacts.c.sealed))).all() == [(None,)]


async def test_a_suppression_that_was_lifted_still_explains_the_days_it_held(database, projector, people) -> None:
    await projector.project([change("consent.granted", 1.0, {"phone": "+33612345678"})])
    its, until = Suppressing(database), NOW.timestamp()
    await its.add([SuppressionRow(PERSON, Scope.MARKETING, SuppressedFor.COMPLAINT, until - 500)])
    await its.remove(PERSON, Scope.MARKETING)
    person = await Persons(database, people).read(PERSON)

    def allowed(seconds: float) -> str | None:
        return verdicts_at(person, datetime.fromtimestamp(until + seconds, UTC), ["offers"])["offers"]

    assert [allowed(-600), allowed(-400), allowed(+600)] == [None, "suppressed", None]
