"""A worker that starts while a server is away waits for it, and ends at once if it is told to."""

import asyncio
import sys

import pytest

from tests import kafka as kafka_server
from tests.conftest import require
from tests.world import open_world
from worker.demo.configuring import CREDENTIALS
from worker.demo.processes import open_process
from worker.state.schema import migrate

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


async def said(log, what: bytes, process) -> bool:
    for _ in range(600):
        if what in log.read_bytes() or process.returncode is not None:
            break
        await asyncio.sleep(0.05)
    return what in log.read_bytes()


@pytest.mark.parametrize("away", ["broker", "database"])
async def test_a_start_without_a_server_waits_for_it_and_can_be_stopped(postgres, tmp_path, away: str) -> None:
    require(kafka_server.missing())
    url = postgres.new_database()
    await asyncio.to_thread(migrate, url)
    with kafka_server.running(tmp_path / "kafka") as broker:
        server = broker if away == "broker" else postgres
        settings = {"database": {"url": url, "statement_timeout_s": 2}}
        async with open_world(tmp_path, broker.address, url, embedded=False, settings=settings) as world:
            command = [sys.executable, "-m", "worker", "run", "--config", world.config]
            log = tmp_path / "waits.log"
            await asyncio.to_thread(server.stop)
            back = False
            try:
                with log.open("ab") as output:
                    async with open_process(command, environment=CREDENTIALS, output=output) as process:
                        assert await said(log, b"worker.start_waits", process), log.read_text()
                        process.terminate()
                        assert await asyncio.wait_for(process.wait(), 20) == 0, log.read_text()
                    log.write_bytes(b"")
                    async with open_process(command, environment=CREDENTIALS, output=output) as process:
                        assert await said(log, b"worker.start_waits", process), log.read_text()
                        await asyncio.to_thread(server.start)
                        back = True
                        assert await said(log, b"worker.running", process), log.read_text()
            finally:
                if not back:
                    await asyncio.to_thread(server.start)
