"""An event loop that is blocked for longer than the group waits for a heartbeat: once, three times, and for too long."""

import asyncio
import sys

import pytest

from tests.world import CREDENTIALS, open_world, terminal
from worker.demo.processes import open_process
from worker.sandbox.provider import Behaviour
from worker.state.schema import migrate
from worker.watchdog import EXIT_BLOCKED

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


@pytest.mark.parametrize(("seconds", "times"), [(8, 1), (8, 3), (30, 1)], ids=["once", "three times", "too long"])
async def test_a_loop_that_is_blocked_beyond_its_session_loses_nothing_and_texts_nobody_twice(
    kafka, postgres, tmp_path, seconds: int, times: int
) -> None:
    """Another worker takes over meanwhile; what stood still wakes up as a member that was put out."""
    url = postgres.new_database()
    await asyncio.to_thread(migrate, url)
    await asyncio.to_thread(kafka.forget)
    settings = {"kafka": {"bootstrap_servers": kafka.address, "session_timeout_s": 6}, "watchdog": {"blocked_s": 20}}
    stage = {"embedded": False, "settings": settings, "accounts": {"http_deadline_s": 2}, "max_in_flight": 20}
    async with open_world(tmp_path, kafka.address, url, **stage, behaviour=Behaviour(latency_ms=200)) as world:
        command = [
            sys.executable,
            "-m",
            "tests.chaos.blocked",
            str(seconds),
            str(times),
            "run",
            "--config",
            world.config,
        ]
        with (tmp_path / "blocked.log").open("ab") as log:
            async with open_process(command, environment=CREDENTIALS, output=log) as blocked, world.process():
                for number in range(60):
                    await world.publish(
                        "order.shipped", {"phone": f"+3367100{number % 20:04}"}, order_id=f"{number:03}"
                    )
                    await asyncio.sleep(0.05)
                outcomes = await world.outcomes(60, 90)
                if seconds > 20:
                    assert await asyncio.wait_for(blocked.wait(), 60) == EXIT_BLOCKED
                else:
                    assert blocked.returncode is None, (tmp_path / "blocked.log").read_text()[-3000:]

    ends = terminal(outcomes)
    assert len(ends) == 60
    assert {tuple(kinds) for kinds in ends.values()} == {("accepted",)}
    assert world.provider.summary()["texted_twice"] == []
