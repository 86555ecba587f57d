"""A cap is one cap, with three processes that text the same ten thousand people at the same time."""

import asyncio
import sys

import pytest
import sqlalchemy as sa

from worker.servers import DatabaseSettings
from worker.state.database import open_database
from worker.state.schema import migrate
from worker.state.tables import ledger

PEOPLE = 10_000


@pytest.mark.postgres
async def test_three_processes_exceed_nobodys_cap_by_one_and_a_refusal_gives_its_place_back(postgres) -> None:
    url = postgres.new_database()
    await asyncio.to_thread(migrate, url)

    command = [sys.executable, "-m", "tests.chaos.capped_client", url]
    processes = [
        await asyncio.create_subprocess_exec(*command, f"w{n}", str(n), str(PEOPLE), stdout=asyncio.subprocess.PIPE)
        for n in range(3)
    ]
    told = [out.split() for out, _ in await asyncio.gather(*(process.communicate() for process in processes))]

    assert [process.returncode for process in processes] == [0] * 3
    assert sum(int(sent) + int(refused) for sent, refused in told) == 3 * PEOPLE
    each = sa.select(ledger.c.person, sa.func.count().label("many")).group_by(ledger.c.person)
    async with open_database(DatabaseSettings(url=url)) as database, database.reading() as connection:
        accepted = dict(list(await connection.execute(each.where(ledger.c.state == "sent"))))
        refused = dict(list(await connection.execute(each.where(ledger.c.state == "rejected"))))

    assert max(accepted.values()) == 1
    assert len(accepted) > 0.95 * PEOPLE
    assert sum(person in accepted for person in refused) > 0  # who was refused once may have got the next one
