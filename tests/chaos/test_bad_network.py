"""A network that is slow, cut, silent or dripping, to each server in turn: every wait ends, and every promise holds."""

import asyncio
import re
import time

import pytest

from tests import kafka as kafka_server
from tests.chaos.proxy import open_proxy
from tests.conftest import require
from tests.world import open_world, terminal
from worker.demo.broker import free_port
from worker.sandbox.provider import SandboxProvider
from worker.sandbox.server import open_sandbox
from worker.state.schema import migrate

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]
MODES = ("latency", "reset", "half-open", "black hole", "drip")
FAULT_S = 4.0


@pytest.mark.timeout(400)
async def test_every_server_behind_every_kind_of_bad_network_loses_nothing_and_texts_nobody_twice(
    postgres, tmp_path
) -> None:
    require(kafka_server.missing())
    advertised = free_port()
    broker = kafka_server.Kafka(tmp_path / "kafka", advertised=advertised)
    await asyncio.to_thread(broker.start)
    provider = SandboxProvider()
    url = postgres.new_database()
    await asyncio.to_thread(migrate, url)
    try:
        async with (
            open_proxy(broker.port, advertised) as to_kafka,
            open_proxy(postgres.port) as to_postgres,
            open_sandbox(provider, "127.0.0.1", 0) as port,
            open_proxy(port) as to_provider,
        ):
            database = re.sub(r":\d+/", f":{to_postgres.port}/", url)
            settings = {"database": {"url": database, "statement_timeout_s": 3}}
            accounts = {"http_deadline_s": 2, "base_url": f"http://127.0.0.1:{to_provider.port}/v1/public"}
            async with (
                open_world(
                    tmp_path, broker.address, database, embedded=False, settings=settings, accounts=accounts
                ) as world,
                world.process() as process,
            ):
                for mode in MODES:
                    for proxy in (to_provider, to_postgres, to_kafka):
                        proxy.turn(mode)
                        ends = time.monotonic() + FAULT_S
                        while time.monotonic() < ends and proxy is not to_kafka:
                            await world.publish("order.shipped", {"phone": f"+3367100{world._count % 20:04}"})
                            await asyncio.sleep(0.2)
                        await asyncio.sleep(max(0.0, ends - time.monotonic()))
                        proxy.turn("fine")
                        await world.publish("order.shipped", {"phone": "+33671009999"})
                        assert process.returncode is None
                outcomes = await world.outcomes(world._count, 120)
                process.terminate()
                assert await asyncio.wait_for(process.wait(), 40) == 0
    finally:
        await asyncio.to_thread(broker.stop)

    assert len(outcomes) == world._count
    assert {tuple(kinds) for kinds in terminal(outcomes).values()} == {("accepted",)}
    assert provider.summary()["texted_twice"] == []
    assert provider.texts.total() == world._count
