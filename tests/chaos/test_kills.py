"""Killed at every point of a message's way, once each, on real servers: one outcome for every message, and no text twice."""

import asyncio
import contextlib
import sys
from contextlib import AsyncExitStack

import pytest

from tests.chaos.killed import POINTS
from tests.world import CREDENTIALS, World, open_world, terminal
from worker.demo.processes import open_process
from worker.sandbox.provider import Behaviour
from worker.state.schema import migrate

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


async def killed(world: World, point: str) -> int | None:
    """Run a worker until it kills itself at *point*; publish until it does. One that must be revoked meets another member."""
    command = [sys.executable, "-m", "tests.chaos.killed", point, "run", "--config", world.config]
    other_command = [sys.executable, "-m", "worker", "run", "--config", world.config]
    asked_before = world.provider.requests.total()
    with (world.folder / "killed.log").open("ab") as log, contextlib.suppress(TimeoutError):
        async with open_process(command, environment=CREDENTIALS, output=log) as process, AsyncExitStack() as stack:
            met = point != "inside the revoke"
            async with asyncio.timeout(60):
                while process.returncode is None:
                    await world.publish("order.shipped", {"phone": f"+3367100{world._count % 20:04}"})
                    await asyncio.sleep(0.15)
                    if not met and world.provider.requests.total() >= asked_before + 10:
                        other = open_process(other_command, environment=CREDENTIALS, output=log)
                        await stack.enter_async_context(other)
                        met = True
    return process.returncode


@pytest.mark.parametrize("keyed", [True, False], ids=["provider with keys", "provider without keys"])
async def test_killed_at_every_point_every_message_has_one_outcome_and_nobody_two_texts(
    kafka, postgres, tmp_path, keyed: bool
) -> None:
    url = postgres.new_database()
    await asyncio.to_thread(migrate, url)
    await asyncio.to_thread(kafka.forget)
    accounts = {"http_deadline_s": 1, "idempotency_h": 24 if keyed else 0}
    behaviour = Behaviour(idempotency=keyed, latency_ms=100)
    async with open_world(
        tmp_path, kafka.address, url, embedded=False, behaviour=behaviour, accounts=accounts
    ) as world:
        codes = {point: await killed(world, point) for point in POINTS}
        async with world.process():
            outcomes = await world.outcomes(world._count, 90)

    assert codes == dict.fromkeys(POINTS, -9)
    ends = terminal(outcomes)
    assert len(ends) == world._count
    assert all(len(kinds) == 1 for kinds in ends.values())
    requests = {}
    for ref, count in world.provider.requests.items():
        requests[ref.rsplit("-", 1)[0]] = requests.get(ref.rsplit("-", 1)[0], 0) + count
    assert world.provider.summary()["texted_twice"] == []
    if keyed:
        assert {kind for kinds in ends.values() for kind in kinds} == {"accepted"}
    else:
        assert max(requests.values()) == 1
    assert all(world.provider.texts[message] == 1 for message, kinds in ends.items() if kinds == {"accepted"})
