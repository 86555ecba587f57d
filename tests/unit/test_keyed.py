"""Work on many records at once, over a client that answers as told: one of a key at a time, finished when it is done."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.unit.test_source import KEY, Client, polled
from tests.fakes import RememberedPositions
from worker.kafka.keyed import KeyedRunner
from worker.records import Record
from worker.kafka.source import Source
from worker.settings import LaneSettings


class Desk:
    """A runner whose records are worked on until they are let go; it counts how many are at once."""

    def __init__(self, client: Client, tasks: asyncio.TaskGroup) -> None:
        self.begun, self.at_once, self.most = [], 0, 0
        self.let_go = asyncio.Event()
        self.client, self.tasks = client, tasks
        self.runner = KeyedRunner(self._source, self._handle, LaneSettings(), revoke_drain_s=0.02, commit_every_s=1)

    def _source(self, before_revoke) -> Source:
        source = Source("test", self.client, {"in": "earliest"}, RememberedPositions(), before_revoke)
        source.standing.position = lambda _: 0
        source.standing.assignment = lambda: None
        return source

    async def _handle(self, record: Record) -> None:
        self.begun.append(record.offset)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await self.let_go.wait()
        self.at_once -= 1

    async def read(self, *offsets: int) -> None:
        self.client.fetched = [polled(KEY, *offsets)]
        await self.runner.poll_once(self.runner.source, self.tasks)
        await asyncio.sleep(0.01)

    async def rebalance(self) -> None:
        await self.runner.source.revoked()
        await self.runner.source.assigned([KEY])


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with asyncio.TaskGroup() as tasks:
        its = Desk(Client(), tasks)
        await its.runner.source.assigned([KEY])
        yield its
        its.let_go.set()


async def test_a_record_that_comes_again_after_a_rebalance_waits_for_the_attempt_that_still_runs(desk: Desk) -> None:
    await desk.read(5)
    await desk.rebalance()
    await desk.read(5)
    before = list(desk.begun)
    desk.let_go.set()
    await asyncio.sleep(0.05)

    assert before == [5]
    assert desk.begun == [5, 5]
    assert desk.most == 1


async def test_a_record_is_finished_when_what_came_of_it_is_durable_and_not_before(desk: Desk) -> None:
    await desk.read(5, 6)
    await desk.runner.source.commit()
    under_way = desk.client.commits()
    desk.let_go.set()
    await asyncio.sleep(0.05)
    await desk.runner.source.commit()

    assert under_way == []
    assert desk.client.commits() == [{KEY: 7}]
