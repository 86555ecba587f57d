"""Budgets and the abuse guard in the fence, on both databases."""

import asyncio
import time
import uuid
from dataclasses import replace

import pytest
import sqlalchemy as sa

from schemas.messages import Lane
from tests.builders import PEPPER, account, ask
from worker.delivery.asks import Claimed, Settled, Wait
from worker.delivery.fence import in_order
from worker.delivery.ledger import Answer
from worker.policy.budget import Budget, names
from worker.policy.guard import ANY_VERIFIED, REQUESTED, VERIFIED, Watched
from worker.policy.rules import BudgetRule, CapRule, GuardRules
from worker.state.database import Database
from worker.state.fence import FenceStore
from worker.state.guarding import Guarding
from worker.state.ledger import Ledger, Settlement
from worker.state.tables import accounts, contacts, guards, tallies

BIG = account(segments_per_second=1e6, max_in_flight=10_000)
BUDGET = Budget("a", BudgetRule(per_day=1.0), holds=True)
RULES = GuardRules(mode="enforce", numbers=(), neighbours=(CapRule(most=3, per="1h"),))


@pytest.fixture
async def fences(database: Database) -> FenceStore:
    store = FenceStore(database, "me", 60)
    await store.open_account("a")
    store.budgets = {"a": BUDGET}
    async with database.transaction() as connection:
        await connection.execute(accounts.update().values(tokens=1e6))
    return store


async def reply_to(fences: FenceStore, **changes):
    (reply,) = await fences.pass_through("a", BIG, [ask(str(uuid.uuid4()), lane=Lane.URGENT, **changes)])
    return reply


async def settle(database: Database, claimed: Claimed, answer: Answer, cost: float | None = None) -> None:
    (after,) = await Ledger(database).settle(
        [Settlement(claimed=claimed.entry, answer=answer, burns=False, outcome=lambda kind: b"{}", cost=cost)]
    )
    assert after is not None


async def spent(database: Database) -> list[float]:
    """Of the day, and of the month."""
    async with database.reading() as connection:
        rows = await connection.execute(sa.select(tallies).where(tallies.c.bucket == 0).order_by(tallies.c.name))
        return [round(row.amount, 6) for row in rows]


async def test_money_is_reserved_before_and_settled_after(fences, database) -> None:
    replies = [await reply_to(fences, cost=0.1) for _ in range(5)]
    assert await spent(database) == [0.5, 0.5]

    await settle(database, replies[0], Answer.ACCEPTED, 0.15)  # dearer than was thought
    await settle(database, replies[1], Answer.ACCEPTED)  # the provider does not say
    await settle(database, replies[2], Answer.RECIPIENT_REFUSED)
    await settle(database, replies[3], Answer.NOT_SENT)
    await settle(database, replies[4], Answer.AMBIGUOUS)  # may be charged: stays reserved

    assert await spent(database) == [0.35, 0.35]


async def test_what_is_asked_for_again_is_paid_for_once(fences, database) -> None:
    one = ask(str(uuid.uuid4()), cost=0.4)
    (first,) = await fences.pass_through("a", BIG, [one])
    (repeated,) = await fences.pass_through("a", BIG, [one])  # the answer was lost
    await settle(database, first, Answer.AMBIGUOUS)
    (doubtful,) = await fences.pass_through("a", BIG, [replace(one, holder="me:again")])
    between = await spent(database)
    await settle(database, doubtful, Answer.NOT_SENT)  # says nothing of the first attempt
    (third,) = await fences.pass_through("a", BIG, [replace(one, holder="me:third")])
    await settle(database, third, Answer.ACCEPTED, 0.4)

    assert (repeated.attempt, doubtful.attempt, third.attempt) == (1, 1, 1)
    assert between == [0.4, 0.4]
    assert await spent(database) == [0.4, 0.4]


async def test_at_100_percent_marketing_holds_and_transactional_goes_on(fences, database) -> None:
    goes = [await reply_to(fences, cost=0.3) for _ in range(3)]
    held = await reply_to(fences, cost=0.3)
    small = await reply_to(fences, cost=0.1)
    fences.budgets = {"a": replace(BUDGET, holds=False)}
    transactional = await reply_to(fences, cost=0.3)
    fences.budgets = {"a": BUDGET}
    await settle(database, goes[0], Answer.RECIPIENT_REFUSED)
    await settle(database, transactional, Answer.RECIPIENT_REFUSED)
    again = await reply_to(fences, cost=0.3)

    assert all(isinstance(one, Claimed) for one in (*goes, small, transactional, again))
    assert isinstance(held, Wait)
    assert held.why == "budget"


async def test_what_waits_for_money_goes_by_the_budget_of_now(fences, database) -> None:
    one = ask(str(uuid.uuid4()), cost=2.0)
    (held,) = await fences.pass_through("a", BIG, [one])
    fences.budgets = {"a": Budget("a", BudgetRule(per_day=5.0), holds=True)}
    (goes,) = await fences.pass_through("a", BIG, [one])
    await settle(database, goes, Answer.NOT_SENT)
    fences.budgets = {}
    for again in ("me:2", "me:3"):  # without a budget nothing is reserved, and nothing is given back
        (goes,) = await fences.pass_through("a", BIG, [replace(one, holder=again)])
        await settle(database, goes, Answer.NOT_SENT)

    assert isinstance(held, Wait)
    assert await spent(database) == [0.0, 0.0]


async def test_no_budget_is_overspent_by_fences_that_ask_at_once(fences, database) -> None:
    async def offer() -> int:
        asks = in_order(ask(str(uuid.uuid4()), cost=0.09) for _ in range(4))
        return sum(isinstance(one, Claimed) for one in await fences.pass_through("a", BIG, asks))

    claimed = sum(await asyncio.gather(*(offer() for _ in range(8))))

    assert claimed == 11  # 0.99 of 1.00
    assert await spent(database) == [0.99, 0.99]


def code(person: str, block: str = "b", **changes) -> dict:
    return {
        "person": person,
        "watched": Watched(**{"rules": RULES, "block": block, "country": "FR", **changes}),
        "scope": "codes:c:",
    }


async def test_the_fourth_neighbour_is_refused_until_somebody_allows_it(fences, database) -> None:
    replies = [await reply_to(fences, **code(f"p-{n}")) for n in range(5)]
    elsewhere = await reply_to(fences, **code("p-9", block="other"))
    blocks = await Guarding(database).blocks()
    was_blocked = await Guarding(database).allow("block:b", 60)
    allowed = await reply_to(fences, **code("p-8"))

    assert [isinstance(one, Claimed) for one in (*replies, elsewhere)] == [True, True, True, False, False, True]
    assert isinstance(replies[3], Settled)
    assert b"guard_neighbours" in replies[3].payload
    assert [(one.scope, one.reason) for one in blocks] == [("block:b", "guard_neighbours")]
    assert was_blocked
    assert isinstance(allowed, Claimed)


async def test_a_code_in_doubt_is_asked_for_again_however_many_there_were_since(fences, database) -> None:
    one = ask(str(uuid.uuid4()), **code("p-0"))
    (claimed,) = await fences.pass_through("a", BIG, [one])
    await settle(database, claimed, Answer.AMBIGUOUS)
    for n in range(1, 5):
        await reply_to(fences, **code(f"p-{n}"))

    (again,) = await fences.pass_through("a", BIG, [replace(one, holder="me:again")])

    assert isinstance(again, Claimed)
    assert again.attempt == 1


async def sums(database: Database) -> dict[str, float]:
    async with database.reading() as connection:
        its = sa.select(tallies.c.name, sa.func.sum(tallies.c.amount)).group_by(tallies.c.name)
        return {name: amount for name, amount in await connection.execute(its)}


async def test_a_code_counts_as_verified_once_however_often_that_is_told(fences, database) -> None:
    subject, person = PEPPER.name("contact", "c-1"), "p-1"
    async with database.transaction() as connection:
        await connection.execute(contacts.insert().values(subject=subject, person=person, version=1.0))
    guarding = Guarding(database)
    await guarding.verified([subject])  # no code was sent to it
    await reply_to(fences, **code(person))
    await guarding.verified([subject])
    await guarding.verified([subject])
    await guarding.verified([person, "stranger"])
    once = await sums(database)
    await reply_to(fences, **code(person))
    await guarding.verified([person])
    twice = await sums(database)

    assert (once[REQUESTED + "FR"], once[VERIFIED + "FR"], once[ANY_VERIFIED]) == (1, 1, 1)
    assert (twice[REQUESTED + "FR"], twice[VERIFIED + "FR"], twice[ANY_VERIFIED]) == (2, 2, 2)


async def age_sums(database: Database, seconds: int) -> None:
    async with database.transaction() as connection:
        await connection.execute(tallies.update().values(bucket=tallies.c.bucket - seconds))


async def test_a_country_that_types_no_code_in_is_blocked_for_a_while_and_then_on_trial(fences, database) -> None:
    rules = replace_rules(neighbours=(), block_for="10m")
    for n in range(30):
        await reply_to(fences, **code(f"p-{n}", block=f"b-{n}", rules=rules))
    young = await reply_to(fences, **code("p-31", rules=rules))
    await age_sums(database, 900)
    unjudged = await reply_to(fences, **code("p-32", rules=rules))  # nobody says which codes were typed in
    await reply_to(fences, **code("q-0", rules=rules, country="BE"))
    await Guarding(database).verified(["q-0"])
    old = await reply_to(fences, **code("p-33", rules=rules))
    other = await reply_to(fences, **code("p-34", rules=rules, country="BE"))
    (block,) = await Guarding(database).blocks()
    async with database.transaction() as connection:
        await connection.execute(guards.update().values(blocked_until=time.time() - 1))
    trial = await reply_to(fences, **code("p-35", rules=rules))

    assert all(isinstance(one, Claimed) for one in (young, unjudged, other, trial))
    assert isinstance(old, Settled)
    assert b"guard_conversion" in old.payload
    assert 500 < block.blocked_until - time.time() < 700


async def test_a_code_that_is_tried_again_and_again_is_one_code(fences, database) -> None:
    rules = replace_rules(neighbours=(), spend_per_hour=0.2)
    one = ask(str(uuid.uuid4()), **code("p-0", rules=rules, cost=0.05))
    replies = []
    for attempt in range(8):
        (reply,) = await fences.pass_through("a", BIG, [replace(one, holder=f"me:{attempt}")])
        replies.append(reply)
        await settle(database, reply, Answer.NOT_SENT)

    assert all(isinstance(reply, Claimed) for reply in replies)
    assert (await sums(database))[REQUESTED + "FR"] == 1


def replace_rules(**changes) -> GuardRules:
    return GuardRules.model_validate({**RULES.model_dump(), **changes})


def test_budgets_go_by_days_and_months_in_utc() -> None:
    assert names("a", 1_772_323_199.0) == ("budget:day:a:2026-02-28", "budget:month:a:2026-02")
    assert names("a", 1_772_323_200.0) == ("budget:day:a:2026-03-01", "budget:month:a:2026-03")
    assert BUDGET.shares({"budget:day:a:2026-03-01": 0.8}, 1_772_323_200.0) == {"day": 0.8}
