"""An assignment's life, over a client that answers as told: what is committed, when, and for whom."""

import asyncio

import pytest
from aiokafka.errors import ConsumerStoppedError, CorruptRecordException, IncompatibleBrokerVersion
from aiokafka.structs import ConsumerRecord, TopicPartition

from tests.fakes import RememberedPositions
from worker.errors import BrokerUnavailable
from worker.kafka import commits
from worker.kafka import source as source_module
from worker.kafka.source import Source

KEY, OTHER = TopicPartition("in", 0), TopicPartition("in", 1)


class OldBroker:
    """A broker that knows no topic ids."""

    def get_random_node(self) -> int:
        return 1

    async def send(self, node: int, request: object) -> None:
        raise IncompatibleBrokerVersion


class Client:
    """A consumer that notes what it is asked, in order; positions are those of its two partitions."""

    def __init__(self) -> None:
        self.asked: list[tuple] = []
        self.fetched: list = []
        self.starts = {KEY: 5, OTHER: 7}
        self.hang: asyncio.Event | None = None
        self._client = OldBroker()
        self.assignment = object()  # the client makes a new one at each rebalance, before it tells anybody

    def pause(self, *keys) -> None:
        self.asked.append(("pause", set(keys)))

    def resume(self, *keys) -> None:
        self.asked.append(("resume", set(keys)))

    def seek(self, key, offset) -> None:
        self.asked.append(("seek", key, offset))

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {0, 1}

    async def committed(self, key) -> int:
        self.asked.append(("committed", key))
        return self.starts[key]

    async def commit(self, offsets) -> None:
        if self.hang:
            await self.hang.wait()
        self.asked.append(("commit", {key: its.offset for key, its in offsets.items()}))

    async def getmany(self, *keys, timeout_ms, max_records):
        answer = self.fetched.pop(0) if self.fetched else {}
        if isinstance(answer, Exception):
            raise answer
        return answer

    def commits(self) -> list[dict]:
        return [one[1] for one in self.asked if one[0] == "commit"]


def polled(key: TopicPartition, *offsets: int) -> dict:
    return {key: [ConsumerRecord(key.topic, key.partition, n, 0, 0, b"k", b"v", None, 1, 1, ()) for n in offsets]}


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def source(client: Client, monkeypatch) -> Source:
    async def nothing() -> None: ...

    its = Source("test", client, {"in": "earliest"}, RememberedPositions(), nothing)
    monkeypatch.setattr(its.standing, "position", lambda _: 0)
    monkeypatch.setattr(its.standing, "assignment", lambda: client.assignment)
    return its


async def test_fetching_is_paused_before_anything_else_and_resumed_when_positions_are_known(source, client) -> None:
    await source.assigned([KEY, OTHER])

    assert client.asked[0] == ("pause", {KEY, OTHER})
    assert client.asked[-1] == ("resume", {KEY, OTHER})


async def test_a_pause_is_put_again_after_a_rebalance(source, client) -> None:
    await source.assigned([KEY])
    source.pause(paused=True)
    await source.revoked()
    await source.assigned([KEY])

    assert client.asked[-1] != ("resume", {KEY})


async def test_what_is_finished_is_committed_inside_the_revoke_and_nothing_until_assigned_again(source, client) -> None:
    await source.assigned([KEY])
    client.fetched = [polled(KEY, 5, 6)]
    (first, record), (_, second) = await source.poll(10, 0)
    first.finished(record)

    await source.revoked()
    first.finished(second)  # an attempt that ran on
    await source.commit()
    await source.commit()

    assert client.commits() == [{KEY: 6}]
    assert first.lost


async def test_a_late_finish_of_an_earlier_assignment_commits_nothing_of_the_next(source, client) -> None:
    await source.assigned([KEY])
    client.fetched = [polled(KEY, 5, 6)]
    (old, record), (_, second) = await source.poll(10, 0)
    await source.revoked()
    await source.assigned([KEY])
    client.fetched = [polled(KEY, 5, 6)]
    await source.poll(10, 0)

    old.finished(record)
    old.finished(second)
    await source.commit()

    assert client.commits() == []
    assert source.assignments()[0].tracker.oldest == 5


async def test_a_commit_that_hangs_is_given_up_at_the_revoke(source, client, monkeypatch) -> None:
    """It would land after the rebalance, and take the next owner back."""
    monkeypatch.setattr(commits, "COMMIT_DEADLINE_S", 0.05)
    await source.assigned([KEY])
    client.fetched = [polled(KEY, 5)]
    ((each, record),) = await source.poll(10, 0)
    each.finished(record)
    client.hang = asyncio.Event()

    await source.revoked()
    client.hang.set()
    await asyncio.sleep(0.05)

    assert client.commits() == []


async def test_records_that_a_lost_assignment_polled_are_nobodys(source, client) -> None:
    await source.assigned([KEY])
    client.fetched = [polled(OTHER, 7)]

    assert await source.poll(10, 0) == []


async def test_a_poll_that_fails_takes_back_what_the_client_had_passed(source, client, monkeypatch) -> None:
    """A batch with a wrong checksum: the client has the records of other partitions behind it by then."""
    monkeypatch.setattr(source_module, "FAILED_POLL_S", 0.0)
    await source.assigned([KEY, OTHER])
    client.fetched = [polled(KEY, 5), CorruptRecordException()]
    await source.poll(10, 0)

    assert await source.poll(10, 0) == []
    assert {one for one in client.asked if one[0] == "seek"} == {("seek", KEY, 6), ("seek", OTHER, 7)}


async def test_a_poll_that_fails_while_the_client_has_another_assignment_moves_nothing(
    source, client, monkeypatch
) -> None:
    """It stands where the group has committed, and what lies between that and the old position is nobody's yet."""
    monkeypatch.setattr(source_module, "FAILED_POLL_S", 0.0)
    await source.assigned([KEY])
    client.fetched = [polled(KEY, 5, 6, 7), CorruptRecordException()]
    await source.poll(10, 0)
    client.assignment = object()

    await source.poll(10, 0)

    assert [one for one in client.asked if one[0] == "seek"] == []


async def test_markers_at_the_end_are_committed_and_records_that_nobody_saw_are_not(
    source, client, monkeypatch
) -> None:
    await source.assigned([KEY])
    monkeypatch.setattr(source.standing, "position", lambda _: 9)
    client.fetched = [polled(KEY, 5)]
    ((each, record),) = await source.poll(10, 0)
    await source.commit()
    each.finished(record)
    source._reads_ahead = True  # records are taken one by one, up to one that cannot be parsed
    await source.commit()
    source._reads_ahead = False
    await source.commit()

    assert client.commits() == [{KEY: 6}, {KEY: 9}]


async def test_a_client_that_was_abandoned_returns_nothing_when_it_is_stopped_under_its_poller(source, client) -> None:
    await source.assigned([KEY])
    source.abandon()
    client.fetched = [ConsumerStoppedError()]

    assert await source.poll(10, 0) == []


async def test_a_client_that_stopped_by_itself_is_no_empty_topic(source, client) -> None:
    await source.assigned([KEY])
    client.fetched = [ConsumerStoppedError()]

    with pytest.raises(ConsumerStoppedError):
        await source.poll(10, 0)


async def test_a_rebalance_that_ends_after_the_client_was_abandoned_gives_it_nothing(source, client) -> None:
    source.abandon()
    await source.assigned([KEY])
    await source.commit()

    assert (source.assignments(), source.ready.is_set(), client.commits()) == ([], False, [])


class CutOff(Client):
    """Its connection is closed under its last word, as uvloop says it."""

    def subscribe(self, **_) -> None: ...

    async def start(self) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

    async def stop(self) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")


async def test_a_connection_that_closes_at_the_start_or_at_the_end_is_a_broker_that_is_away() -> None:
    async def nothing() -> None: ...

    source = Source("test", CutOff(), {"in": "earliest"}, RememberedPositions(), nothing)

    with pytest.raises(BrokerUnavailable, match="its connection was closed"):
        await source.start()
    await source._leave()
