"""One account's rate is one rate, with four processes that each want more than all of it."""

import asyncio
import json
import sys

import pytest
import sqlalchemy as sa

from worker.servers import DatabaseSettings
from worker.state.database import open_database
from worker.state.schema import migrate
from worker.state.tables import ledger

RATE, BURST, LONGEST, WINDOW_S = 20, 20, 8, 5.0


@pytest.mark.postgres
async def test_four_processes_never_exceed_the_rate_starve_no_code_and_let_long_texts_through(postgres) -> None:
    url = postgres.new_database()
    await asyncio.to_thread(migrate, url)

    command = [sys.executable, "-m", "tests.chaos.fence_client", url]
    processes = [
        await asyncio.create_subprocess_exec(*command, f"p{number}", "14", stdout=asyncio.subprocess.PIPE)
        for number in range(4)
    ]
    told = await asyncio.gather(*(process.communicate() for process in processes))

    assert [process.returncode for process in processes] == [0] * 4
    granted = {identity: (lane, segments) for out, _ in told for identity, lane, segments in json.loads(out)}
    async with open_database(DatabaseSettings(url=url)) as database, database.reading() as connection:
        rows = await connection.execute(sa.select(ledger.c.message_id, ledger.c.ref_since).order_by(ledger.c.ref_since))
        claims = [(row.ref_since, *granted[row.message_id]) for row in rows]

    assert len(claims) == len(granted)
    for at, _, _ in claims:  # by the database's own clock
        within = sum(segments for other, _, segments in claims if at <= other < at + WINDOW_S)
        assert within <= RATE * WINDOW_S + BURST + LONGEST
    total = sum(segments for _, _, segments in claims)
    assert total >= 0.8 * RATE * (claims[-1][0] - claims[0][0])  # and what there is, is used
    by_lane = {
        lane: [segments for _, its, segments in claims if its == lane]
        for lane in ("urgent", "transactional", "marketing")
    }
    assert len(by_lane["urgent"]) >= 4 * 10  # each of four asks again 0.7 s after it was let through, for 14 s
    assert max(by_lane["transactional"]) == LONGEST
    assert by_lane["marketing"]
    assert all({name for out, _ in [one] for _, name, _ in json.loads(out)} >= {"urgent"} for one in told)
