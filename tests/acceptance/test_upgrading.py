"""The version before and this one, together on one database while a deployment is rolled: nothing lost, nobody twice."""

import asyncio
import itertools
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from tests.builders import ROOT
from tests.world import World, open_world, terminal
from worker.sandbox.provider import Behaviour
from worker.state.schema import MIGRATIONS

# The code as it was before the newest migration; CONTRIBUTING.md says how it is made anew with the next one.
BEFORE = ROOT / "tests" / "data" / "worker-before.tar.xz"
WEIGHTS = Path("worker", "content", "advertising.tsv")
PEOPLE = 40


@pytest.fixture
def before(tmp_path) -> Path:
    """The folder of the version before."""
    folder = tmp_path / "before"
    with tarfile.open(BEFORE) as archive:
        archive.extractall(folder, filter="data")
    shutil.copy(ROOT / WEIGHTS, folder / WEIGHTS)
    return folder


def test_the_version_before_lacks_the_newest_migrations_and_no_other(before) -> None:
    of_now = sorted(path.name for path in MIGRATIONS.glob("versions/*.py"))
    of_before = sorted(path.name for path in (before / MIGRATIONS.relative_to(ROOT)).glob("versions/*.py"))

    assert of_before == of_now[: len(of_before)], "make tests/data/worker-before.tar.xz anew: CONTRIBUTING.md"
    assert len(of_before) < len(of_now), "make tests/data/worker-before.tar.xz anew: CONTRIBUTING.md"


async def publish_until(world: World, stop: asyncio.Event) -> int:
    """Publish orders, some thirty a second, and return how many there were."""
    for number in itertools.count():
        if stop.is_set():
            return number
        await world.publish("order.shipped", {"contact_id": f"c-{number % PEOPLE}"}, order_id=str(number))
        await asyncio.sleep(0.03)
    raise AssertionError


async def sent_more(world: World, than: int) -> int:
    """Wait until the provider was asked for thirty more, and return how often it was by then."""
    async with asyncio.timeout(60):
        while world.provider.requests.total() < than + 30:
            await asyncio.sleep(0.05)
    return world.provider.requests.total()


async def messages_read(world: World) -> list[int]:
    """How many messages each process has read from lanes, in the order they started."""
    told, ports = [], re.findall(r'"port":(\d+)', world.log.read_text())
    async with aiohttp.ClientSession() as session:
        for port in ports:
            async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
                read = re.findall(r"^sms_messages_read_total\{.*\} (\S+)$", await response.text(), re.MULTILINE)
            told.append(int(sum(map(float, read))))
    return told


@pytest.mark.kafka
@pytest.mark.postgres
async def test_a_deployment_is_rolled_under_load_and_nothing_is_lost_and_nobody_texted_twice(
    kafka, postgres, tmp_path, before
) -> None:
    url = postgres.new_database()
    old_schema = f"from worker.state.schema import migrate; migrate({url!r})"
    subprocess.run([sys.executable, "-c", old_schema], cwd=before, check=True, capture_output=True, timeout=120)
    await asyncio.to_thread(kafka.forget)
    servers = {"broker": kafka.address, "database": url, "embedded": False}
    async with open_world(tmp_path, **servers, behaviour=Behaviour(latency_ms=40)) as world:
        await world.people(PEOPLE)
        publishing = asyncio.create_task(publish_until(world, stop := asyncio.Event()))
        async with world.process(code=before) as old:
            by_old = await sent_more(world, 0)
            await world.command("run", expect=3)  # this version refuses the old schema
            await world.command("db", "upgrade")
            await sent_more(world, by_old)
            async with (
                world.process() as new,
                world.process(code=before) as restarted,
            ):  # an old pod that is moved starts, too
                async with asyncio.timeout(60):
                    while min(worked := await messages_read(world)) == 0:
                        await asyncio.sleep(0.2)
                old.terminate()
                assert await asyncio.wait_for(old.wait(), 40) == 0
                restarted.send_signal(signal.SIGKILL)
                await restarted.wait()
                await sent_more(world, world.provider.requests.total())
                stop.set()
                published = await publishing
                outcomes = await world.outcomes(published, 90)
                assert new.returncode is None

    ended = terminal(outcomes)
    assert Counter(tuple(kinds) for kinds in ended.values()) == {("accepted",): published}
    assert world.provider.summary()["texted_twice"] == []
    assert len(worked) == 3
