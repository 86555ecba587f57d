"""What no process may do to the others through the database, and what a server may not do that was demoted; on PostgreSQL."""

import asyncio
import os
import signal
import sys

import pytest
import sqlalchemy as sa

from tests.builders import account, ask
from worker.delivery.asks import Claimed
from worker.errors import StateUnavailable
from worker.servers import DatabaseSettings
from worker.state.database import open_database
from worker.state.fence import FenceStore
from worker.state.schema import migrate

pytestmark = pytest.mark.postgres
FROZEN = """
import asyncio, sys
import sqlalchemy as sa
from worker.servers import DatabaseSettings
from worker.state.database import open_database

async def main():
    async with open_database(DatabaseSettings(url=sys.argv[1])) as database, database.transaction() as connection:
        await connection.execute(sa.text("SELECT * FROM accounts FOR UPDATE"))
        print("inside", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.fixture
async def url(postgres) -> str:
    url = postgres.new_database()
    await asyncio.to_thread(migrate, url)
    return url


async def test_a_process_that_freezes_inside_the_fence_holds_nobody_s_codes(url) -> None:
    async with open_database(DatabaseSettings(url=url)) as database:
        fences = FenceStore(database, "me", 60)
        await fences.open_account("a")
        async with database.transaction() as connection:
            await connection.execute(sa.text("UPDATE accounts SET tokens = 1000"))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", FROZEN, url, stdout=asyncio.subprocess.PIPE
        )
        assert await process.stdout.readline() == b"inside\n"
        os.kill(process.pid, signal.SIGSTOP)
        try:
            (reply,) = await fences.pass_through("a", account(), [ask("6ba7b810-9dad-11d1-80b4-00c04fd430c8")])
        finally:
            process.kill()
            await process.wait()

    assert isinstance(reply, Claimed)


async def test_a_connection_that_cannot_write_is_discarded_and_not_used_again(url) -> None:
    async with open_database(DatabaseSettings(url=url, pool=3)) as database:
        for _ in range(3):  # as after a switch-over: every one that the pool has
            async with database.transaction() as connection:
                await connection.execute(sa.text("SET SESSION default_transaction_read_only = on"))
        with pytest.raises(StateUnavailable):
            await database.require_writable()

        await database.require_writable()


async def test_a_server_that_takes_no_writes_gets_no_connection_of_a_worker(url) -> None:
    async with open_database(DatabaseSettings(url=url)) as database, database.transaction() as connection:
        name = (await connection.execute(sa.text("SELECT current_database()"))).scalar_one()
        await connection.execute(sa.text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))

    async with open_database(DatabaseSettings(url=url)) as database:
        with pytest.raises(StateUnavailable, match="takes no writes"):
            async with database.reading():
                pass
        assert not await database.answers()
    async with open_database(DatabaseSettings(url=url), tool=True) as database:
        assert await database.answers()  # an operator may look


async def test_every_connection_has_the_server_s_bounds(url) -> None:
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "tcp_user_timeout")
    async with open_database(DatabaseSettings(url=url)) as database:
        for its in (database, database.urgent):
            async with its.reading() as connection:
                told = [(await connection.execute(sa.text(f"SHOW {name}"))).scalar_one() for name in names]

            assert told == ["10s", "8s", "5s", "15000"]
