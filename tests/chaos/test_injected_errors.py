"""Errors that brokers give seldom: each is answered by waiting and trying again, and nothing is lost, skipped or committed too far."""

import asyncio

import pytest

from tests.chaos.mock_cluster import Api, MockCluster, running
from tests.fakes import RememberedPositions
from worker.errors import BrokerUnavailable
from worker.kafka import scanning
from worker.kafka.clients import make_consumer, make_producer
from worker.kafka.keyed import KeyedRunner
from worker.kafka.sink import open_sink
from worker.kafka.source import Source
from worker.records import Outgoing, Record
from worker.servers import KafkaSettings
from worker.settings import LaneSettings

GROUP, TOPIC = "sms-g", "in"


def settings(cluster: MockCluster) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=cluster.address, session_timeout_s=6, embedded=True, commit_every_s=0.2)


async def write(cluster: MockCluster, *values: bytes) -> None:
    async with open_sink(make_producer(settings(cluster))) as sink:
        await asyncio.wait_for(await sink.enqueue([Outgoing(TOPIC, b"k", value) for value in values]), 30)


async def work(cluster: MockCluster, wanted: int, seconds: float = 30, meanwhile=None) -> tuple[list[bytes], int]:
    """Run a real runner until it has handled *wanted* records and committed; return them and what is committed."""
    its, handled, stop = settings(cluster), [], asyncio.Event()

    async def handle(record: Record) -> None:
        handled.append(record.value)
        await asyncio.sleep(0)

    def make(before_revoke) -> Source:
        consumer = make_consumer(its, GROUP, drain_s=1, urgent=False)
        return Source("test", consumer, {TOPIC: "earliest"}, RememberedPositions(), before_revoke)

    runner = KeyedRunner(make, handle, LaneSettings(), revoke_drain_s=1, commit_every_s=0.2)
    runner.begin()
    running_it = asyncio.create_task(runner.run(stop, 5))
    try:
        async with asyncio.timeout(seconds):
            told = False
            while len(set(handled)) < wanted or not any(
                each.committed >= wanted for each in runner.source.assignments()
            ):
                if meanwhile and not told and handled:
                    told = True
                    await meanwhile()
                assert not running_it.done(), running_it
                await asyncio.sleep(0.05)
    finally:
        committed = max((each.committed for each in runner.source.assignments()), default=-1)
        stop.set()
        await asyncio.wait_for(running_it, 30)
    return handled, committed


VALUES = [b"%d" % number for number in range(20)]

# Kafka's error codes: https://kafka.apache.org/protocol.html#protocol_error_codes
PRODUCE = {
    "not leader": 6,
    "timed out": 7,
    "not enough replicas": 19,
    "out of order sequence": 45,
    "invalid producer epoch": 47,
    "not authorized": 29,
}
COMMIT = {
    "coordinator loading": 14, "coordinator not available": 15, "not coordinator": 16, "illegal generation": 22,
    "unknown member": 25, "rebalance in progress": 27, "not authorized": 30,
}  # fmt: skip
FETCH = {"unknown topic": 3, "not leader": 6, "not authorized": 29}
GROUP_ERRORS = {"illegal generation": 22, "unknown member": 25, "rebalance in progress": 27}


@pytest.mark.parametrize("code", PRODUCE.values(), ids=PRODUCE)
async def test_a_write_that_is_refused_is_held_and_written_in_order(code: int) -> None:
    with running() as cluster:
        cluster.topic(TOPIC)
        await write(cluster, b"0")
        cluster.errors(Api.PRODUCE, *[code] * 3)

        await write(cluster, *VALUES[1:])
        handled, _ = await work(cluster, 20)

    first = list(dict.fromkeys(handled))
    assert first == VALUES


@pytest.mark.parametrize("code", COMMIT.values(), ids=COMMIT)
async def test_a_commit_that_is_refused_is_made_later(code: int) -> None:
    with running() as cluster:
        cluster.topic(TOPIC)
        await write(cluster, *VALUES)
        cluster.errors(Api.OFFSET_COMMIT, 0, *[code] * 2)  # the first commit is that of where reading begins

        handled, committed = await work(cluster, 20)

    assert list(dict.fromkeys(handled)) == VALUES
    assert committed == 20


@pytest.mark.parametrize("code", FETCH.values(), ids=FETCH)
async def test_a_fetch_that_fails_is_made_again(code: int) -> None:
    with running() as cluster:
        cluster.topic(TOPIC)
        await write(cluster, *VALUES)
        cluster.errors(Api.FETCH, *[code] * 3)

        handled, committed = await work(cluster, 20)

    assert (list(dict.fromkeys(handled)), committed) == (VALUES, 20)


@pytest.mark.parametrize("api", [Api.HEARTBEAT, Api.JOIN_GROUP])
@pytest.mark.parametrize("code", GROUP_ERRORS.values(), ids=GROUP_ERRORS)
async def test_a_member_that_is_put_out_of_its_group_joins_it_again(api: Api, code: int) -> None:
    with running() as cluster:
        cluster.topic(TOPIC)
        await write(cluster, *VALUES[:10])

        async def put_out() -> None:
            cluster.errors(api, code, code)
            await asyncio.sleep(2)
            await write(cluster, *VALUES[10:])

        handled, committed = await work(cluster, 20, meanwhile=put_out)

    assert (list(dict.fromkeys(handled)), committed) == (VALUES, 20)


async def test_leader_and_coordinator_may_move_and_brokers_go_down_and_come_back() -> None:
    with running(3) as cluster:
        cluster.topic(TOPIC)
        await write(cluster, *VALUES[:10])

        async def move() -> None:
            cluster.lead(TOPIC, 2)
            cluster.coordinate(GROUP, 3)
            await asyncio.sleep(1)
            for broker in (1, 2, 3):
                cluster.down(broker)
            await asyncio.sleep(4)
            for broker in (1, 2, 3):
                cluster.up(broker)
            await write(cluster, *VALUES[10:])

        handled, committed = await work(cluster, 20, 60, meanwhile=move)

    assert (list(dict.fromkeys(handled)), committed) == (VALUES, 20)


async def test_a_scan_whose_broker_falls_silent_says_so_and_is_no_shorter_list(monkeypatch) -> None:
    """The client answers nothing while a leader is away; an operator must not take that for the end."""
    monkeypatch.setattr(scanning, "QUIET_POLLS", 4)
    with running() as cluster:
        cluster.topic(TOPIC)
        await write(cluster, *VALUES)
        cluster.errors(Api.FETCH, *[6] * 500)

        with pytest.raises(BrokerUnavailable, match="0 of 20"):
            async for _ in scanning.scan(settings(cluster), [TOPIC]):
                pass


async def test_a_scan_goes_on_when_its_broker_is_back() -> None:
    with running() as cluster:
        cluster.topic(TOPIC)
        await write(cluster, *VALUES)
        cluster.errors(Api.FETCH, *[6] * 10)

        assert [record.value async for record in scanning.scan(settings(cluster), [TOPIC])] == VALUES
