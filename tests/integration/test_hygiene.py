"""Dead numbers: by look-up, by two refusals, and back to life."""

from datetime import timedelta

import pytest

from schemas.messages import Category
from tests.builders import PEPPER, RING
from tests.integration.test_keeping import change
from worker.delivery.verdicts import Line
from worker.providers.octopush import line_of
from worker.state.database import Database
from worker.state.hygiene import Hygiene
from worker.state.people import People
from worker.state.projection import Projector
from worker.state.suppressing import Suppressing
from worker.state.tables import numbers

PERSON = PEPPER.name("phone", "+33612345678")
LATELY = timedelta(days=60)


@pytest.fixture
def hygiene(database: Database) -> Hygiene:
    return Hygiene(database, People(database, RING))


async def reasons(database: Database, person: str = PERSON) -> set[tuple[str, str]]:
    return {(row.scope.value, row.reason.value) for row in await Suppressing(database).of(person)}


@pytest.mark.parametrize(
    ("category", "silenced"),
    [
        (Category.TRANSACTIONAL, ("everything", "dead_number")),
        (Category.MARKETING, ("marketing", "provider_blacklist")),
    ],
)
async def test_two_permanent_refusals_silence_a_number_as_far_as_their_account_can_know(
    hygiene, database, category, silenced
) -> None:
    first = await hygiene.strike(PERSON, category)
    after_one = await reasons(database)
    second = await hygiene.strike(PERSON, category)

    assert (first, second) == (False, True)
    assert after_one == set()
    assert await reasons(database) == {silenced}
    assert await hygiene.revive(PERSON)
    assert not await hygiene.revive(PERSON)
    assert await reasons(database) == set()
    assert not await hygiene.strike(PERSON, category)  # it begins anew


async def test_refusals_of_two_accounts_or_of_two_seasons_say_nothing_together(hygiene, database) -> None:
    mixed = [await hygiene.strike(PERSON, Category.MARKETING), await hygiene.strike(PERSON, Category.TRANSACTIONAL)]
    async with database.transaction() as connection:
        await connection.execute(numbers.update().values(struck_at=numbers.c.struck_at - 100 * 86_400))
    later = [await hygiene.strike(PERSON, category) for category in Category]

    assert mixed == later == [False, False]
    assert await reasons(database) == set()


async def test_numbers_are_looked_up_once_in_60_days_each_once_and_never_those_known_to_be_dead(
    hygiene, database
) -> None:
    projector = Projector(database, People(database, RING), PEPPER)
    await projector.project([
        change("contact.updated", 1.0), change("contact.updated", 1.0, contact_id="c-2"),  # share a number
        change("contact.updated", 1.0, contact_id="c-3", phone="+33612345679"),
        change("contact.updated", 1.0, contact_id="c-4", phone="+33612345680"),
        change("contact.erased", 2.0, contact_id="c-4"),
    ])  # fmt: skip
    first = [one for piece in [p async for p in hygiene.stale(LATELY)] for one in piece]
    await hygiene.looked_up({first[0].person: Line.UNDECIDED, first[1].person: Line.DEAD})
    between = await hygiene.count_stale(LATELY)
    async with database.transaction() as connection:
        await connection.execute(numbers.update().values(checked_at=numbers.c.checked_at - 61 * 86_400))
    later = [one for piece in [p async for p in hygiene.stale(LATELY)] for one in piece]

    assert sorted(one.phone for one in first) == ["+33612345678", "+33612345679"]
    assert between == 0
    assert [one.person for one in later] == [first[0].person]
    assert await reasons(database, first[1].person) == {("everything", "dead_number")}


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"status": "valid", "line_status": "live"}, Line.LIVE), ({"status": "invalid", "line_status": "dead"}, Line.DEAD),
        ({"status": "valid", "line_status": "absent"}, Line.UNDECIDED), ({"status": "valid"}, Line.UNDECIDED), ({}, Line.UNDECIDED),
        ({"status": "odd", "line_status": "dead"}, Line.UNDECIDED),
    ],
)  # fmt: skip
def test_only_what_is_surely_unassigned_is_dead(row, line) -> None:
    assert line_of(row) is line
