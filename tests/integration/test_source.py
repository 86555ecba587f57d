"""Where reading begins, how far behind it is, and how the process ends while its servers are away; on a real Kafka."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.structs import TopicPartition

from tests.conftest import require
from tests.world import open_world
from tests.fakes import RememberedPositions
from worker.errors import BrokerUnavailable
from worker.kafka.clients import make_consumer
from worker.kafka.source import Source
from tests.builders import SHIPPED
from worker.kafka.checking import check_topics
from worker.kafka.topics import committed_offset, create_topics, open_admin
from worker.environment import load_settings
from worker.servers import DatabaseSettings, KafkaSettings
from worker.state.database import open_database
from worker.state.positions import StoredPositions
from worker.telemetry import metrics
from worker.state.schema import migrate

pytestmark = pytest.mark.kafka


@pytest.fixture
async def topic(kafka) -> str:
    await asyncio.to_thread(kafka.forget)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    await admin.create_topics([NewTopic("in", 2, 1)])
    await admin.close()
    return "in"


async def nothing() -> None:
    """What a runner without work does before its partitions go."""


@pytest.fixture
async def remembered(tmp_path) -> AsyncIterator[StoredPositions]:
    """What the deployment remembers, in a real state store."""
    url = f"sqlite+aiosqlite:///{tmp_path}/state.db"
    await asyncio.to_thread(migrate, url)
    async with open_database(DatabaseSettings(url=url)) as database:
        yield StoredPositions(database)


async def read(
    kafka, topic: str, start: str, group: str = "g", polls: int = 30, remembered=None
) -> tuple[list[bytes], dict]:
    """Join the group, read for a while, leave; return the values and how far behind it was at the end."""
    async with reading(kafka, topic, start, group, remembered) as source:
        values = await poll(source, polls)
        behind = source.standing.behind_s()
    return values, behind


async def poll(source: Source, polls: int) -> list[bytes]:
    values = []
    for number in range(polls):
        for assigned, record in await source.poll(100, 0.1):
            values.append(record.value)
            assigned.finished(record)
        if number % 10 == 9:
            await source.commit()
            await source.memory.remember(source.assignments())
            await source.memory.look_for_recreated_topics()
    return values


@asynccontextmanager
async def reading(kafka, topic: str, start: str, group: str = "g", remembered=None) -> AsyncIterator[Source]:
    consumer = make_consumer(
        KafkaSettings(bootstrap_servers=kafka.address, session_timeout_s=10), group, drain_s=1, urgent=False
    )
    consumer._client._metadata_max_age_ms = 500  # what changes is seen within the test, not within a minute
    source = Source("test", consumer, {topic: start}, remembered or RememberedPositions(), nothing)
    await source.start()
    try:
        yield source
    finally:
        await source.commit()
        await source.memory.remember(source.assignments())
        await source.stop()


async def send(kafka, topic: str, *values: bytes, partition: int = 0, transaction: str | None = None) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.address, transactional_id=transaction)
    await producer.start()
    if transaction:
        async with producer.transaction():
            for value in values:
                await (await producer.send(topic, value, partition=partition))
    else:
        for value in values:
            await producer.send_and_wait(topic, value, partition=partition)
    await producer.stop()


async def test_latest_begins_at_the_end_once_and_never_skips_or_replays_afterwards(kafka, topic) -> None:
    await send(kafka, topic, b"old", partition=0)
    await send(kafka, topic, b"old", partition=1)

    first, _ = await read(kafka, topic, "latest")
    await send(kafka, topic, b"while away", partition=0)
    second, _ = await read(kafka, topic, "latest")
    await send(kafka, topic, b"on the quiet partition", partition=1)
    third, _ = await read(kafka, topic, "latest")

    assert (first, second, third) == ([], [b"while away"], [b"on the quiet partition"])


async def test_a_transaction_s_marker_is_no_record_that_is_waited_for(kafka, topic) -> None:
    await send(kafka, topic, b"one", b"two", transaction="t")

    values, behind = await read(kafka, topic, "earliest")

    assert values == [b"one", b"two"]
    assert behind == {("in", 0): 0.0, ("in", 1): 0.0}


async def test_an_aborted_transaction_never_texts(kafka, topic) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.address, transactional_id="aborting")
    await producer.start()
    await producer.begin_transaction()
    await (await producer.send(topic, b"aborted", partition=0))
    await producer.abort_transaction()
    await producer.stop()
    await send(kafka, topic, b"real")

    values, _ = await read(kafka, topic, "earliest")

    assert values == [b"real"]


@pytest.mark.postgres
async def test_sigterm_ends_the_process_while_the_database_is_away(kafka, postgres, tmp_path) -> None:
    await asyncio.to_thread(kafka.forget)
    url = postgres.new_database()
    await asyncio.to_thread(migrate, url)
    settings = {"drain_s": 2}
    async with (
        open_world(tmp_path, kafka.address, url, embedded=False, settings=settings) as world,
        world.process() as process,
    ):
        await asyncio.to_thread(postgres.stop)
        try:
            for _ in range(20):
                await world.publish("order.shipped")
            await asyncio.sleep(2)
            process.terminate()
            await asyncio.wait_for(process.wait(), 25)
        finally:
            await asyncio.to_thread(postgres.start)


async def test_a_record_that_the_client_cannot_parse_is_stepped_over_and_nothing_around_it_is_lost(
    kafka, topic
) -> None:
    require(None if shutil.which("kcat") else "a header's name that is not UTF-8 is written with kcat")
    await send(kafka, topic, b"before", b"before too")
    poison = [b"kcat", b"-P", b"-b", kafka.address.encode(), b"-t", topic.encode(), b"-p", b"0", b"-H", b"\xff\xfe=1"]
    await asyncio.to_thread(subprocess.run, poison, input=b"poison", check=True)
    await send(kafka, topic, b"after")
    await send(kafka, topic, *(b"elsewhere %d" % n for n in range(50)), partition=1)

    values, behind = await read(kafka, topic, "earliest")
    again, _ = await read(kafka, topic, "earliest")

    assert [value for value in values if value is None or not value.startswith(b"elsewhere")] == [
        b"before",
        b"before too",
        None,
        b"after",
    ]
    assert [value for value in values if value and value.startswith(b"elsewhere")] == [
        b"elsewhere %d" % n for n in range(50)
    ]
    assert behind == {("in", 0): 0.0, ("in", 1): 0.0}
    assert again == []


async def test_topics_are_checked_made_and_then_as_they_should_be(kafka) -> None:
    await asyncio.to_thread(kafka.forget)
    settings = load_settings(SHIPPED / "worker.yaml", kafka={"bootstrap_servers": kafka.address})

    async with open_admin(settings.kafka) as admin:
        before = await check_topics(admin, settings)
        made = await create_topics(admin, settings)
        for _ in range(50):  # a broker tells of a new topic a moment after it was made
            if not (after := await check_topics(admin, settings)):
                break
            await asyncio.sleep(0.1)
        again = await create_topics(admin, settings)
        await admin.alter_configs([
            ConfigResource(ConfigResourceType.TOPIC, name, configs) for name, configs in (
                ("sms.urgent", {"retention.ms": "3600000"}), ("sms.marketing", {"cleanup.policy": "compact"}),
                ("sms.router.dlq", {"max.message.bytes": "1000"}), ("orders.events", {"retention.ms": "3600000"}),
            )
        ])  # fmt: skip
        production = settings.model_copy(update={"production": True})
        for _ in range(50):
            if len(wrong := await check_topics(admin, production)) >= 4 + 2 * 20:
                break
            await asyncio.sleep(0.1)

    assert {one for one in wrong if "replic" not in one and "min.insync" not in one} == {
        "sms.urgent: retention.ms is 3600000; 5788800000 is needed (67 days)",
        "sms.marketing: cleanup.policy is compact; delete is needed, or records are lost",
        "sms.router.dlq: max.message.bytes is 1000; 1114112 is needed",
        "sms.router.dlq: retention.ms is 604800000; 2592000000 is needed (30 days)",
        "orders.events: is kept for 0.0416667 days; what nobody has read by then is lost, so let it be at least 3",
    }
    assert "sms.outcomes: is kept 1 times; production needs replication 3" in wrong
    assert "sms.outcomes: min.insync.replicas is 1; 2 is needed: one lost broker loses records" in wrong
    assert len(before) == len(made) == 20
    assert "sms.outcomes: is missing; run `sms-worker topics create`" in before
    assert (after, again) == ([], [])


async def test_records_that_were_dropped_before_they_were_read_are_an_incident_and_no_quiet_skip(
    kafka, topic, capsys
) -> None:
    await send(kafka, topic, *(b"%d" % n for n in range(5)))
    first, _ = await read(kafka, topic, "earliest")
    await send(kafka, topic, *(b"%d" % n for n in range(5, 20)))
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=12)})
    await admin.close()

    second, _ = await read(kafka, topic, "earliest")
    third, _ = await read(kafka, topic, "earliest")

    assert (len(first), second, third) == (5, [b"%d" % n for n in range(12, 20)], [])
    assert "kafka.offset_out_of_range" in capsys.readouterr().out
    assert metrics.RECORDS_LOST.labels("test", topic)._value.get() >= 7


async def test_a_topic_that_was_made_anew_is_read_from_its_beginning(kafka, topic) -> None:
    await send(kafka, topic, *(b"old %d" % n for n in range(9)))
    await read(kafka, topic, "earliest")
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    await admin.delete_topics([topic])
    await asyncio.sleep(1)
    await admin.create_topics([NewTopic(topic, 2, 1)])
    await admin.close()
    await send(kafka, topic, b"new 0", b"new 1")

    values, _ = await read(kafka, topic, "earliest", polls=60)

    assert values == [b"new 0", b"new 1"]


async def test_partitions_that_are_added_are_read_from_their_beginning(kafka, topic) -> None:
    await send(kafka, topic, b"before")
    await read(kafka, topic, "earliest")
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    await admin.create_partitions({topic: NewPartitions(total_count=4)})
    await admin.close()
    await send(kafka, topic, b"on a new one", partition=3)

    values, _ = await read(kafka, topic, "earliest", polls=60)

    assert values == [b"on a new one"]


async def test_markers_of_transactions_at_the_end_are_committed_too(kafka, topic) -> None:
    """Else, when retention has emptied a quiet partition, its next reader would tell of records that were lost."""
    await send(kafka, topic, b"in a transaction", transaction="t-1")

    values, _ = await read(kafka, topic, "earliest", polls=40)
    async with open_admin(KafkaSettings(bootstrap_servers=kafka.address)) as admin:
        committed = await committed_offset(admin, "g", topic, 0)

    assert values == [b"in a transaction"]
    assert committed == 2  # the record, and the marker behind it


@asynccontextmanager
async def opened_admin(kafka) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def make_again(kafka, topic: str, partitions: int = 2) -> None:
    async with opened_admin(kafka) as admin:
        await admin.delete_topics([topic])
        for _ in range(100):
            if topic not in await admin.list_topics():
                break
            await asyncio.sleep(0.1)
        await admin.create_topics([NewTopic(topic, partitions, 1)])
        for _ in range(100):
            if topic in await admin.list_topics():
                break
            await asyncio.sleep(0.1)


async def test_latest_reads_a_partition_that_is_added_while_a_worker_reads_from_its_beginning(
    kafka, topic, remembered
) -> None:
    await send(kafka, topic, b"old")
    async with reading(kafka, topic, "latest", remembered=remembered) as source:
        before = await poll(source, 20)
        async with opened_admin(kafka) as admin:
            await admin.create_partitions({topic: NewPartitions(total_count=4)})
        await send(kafka, topic, *(b"%d" % n for n in range(50)), partition=3)
        after = await poll(source, 80)

    assert (before, sorted(after, key=int)) == ([], [b"%d" % n for n in range(50)])


@pytest.mark.parametrize("running", [True, False], ids=["while a worker reads", "while none does"])
async def test_latest_reads_a_topic_that_was_made_again_from_its_beginning(
    kafka, topic, remembered, running, capsys
) -> None:
    incidents = metrics.START_INCIDENTS.labels("test", topic, "topic_recreated")
    counted = incidents._value.get()
    values: list[bytes] = []
    await send(kafka, topic, *(b"old" for _ in range(20)))
    async with reading(kafka, topic, "latest", remembered=remembered) as source:
        await poll(source, 20)
        await send(kafka, topic, *(b"old %d" % n for n in range(9)))
        values += await poll(source, 20)
        if running:
            await make_again(kafka, topic)
            await send(kafka, topic, *(b"new %d" % n for n in range(58)))
            values += await poll(source, 100)
    if not running:
        await make_again(kafka, topic)
        await send(kafka, topic, *(b"new %d" % n for n in range(58)))
        values += (await read(kafka, topic, "latest", polls=60, remembered=remembered))[0]

    assert sorted(set(values)) == sorted([b"old %d" % n for n in range(9)] + [b"new %d" % n for n in range(58)])
    assert incidents._value.get() > counted
    assert "kafka.topic_recreated" in capsys.readouterr().out


async def test_latest_goes_on_where_it_was_if_the_group_s_offsets_expired_and_says_that_they_did(
    kafka, topic, remembered, capsys
) -> None:
    await read(kafka, topic, "latest", remembered=remembered)
    await send(kafka, topic, b"read before")
    first, _ = await read(kafka, topic, "latest", remembered=remembered)
    await send(kafka, topic, *(b"%d" % n for n in range(30)))

    # Another group is one without offsets: what an expired one is.
    values, _ = await read(kafka, topic, "latest", group="expired", remembered=remembered)

    assert (first, values) == ([b"read before"], [b"%d" % n for n in range(30)])
    assert "kafka.offsets_vanished" in capsys.readouterr().out


async def test_two_processes_have_one_first_start(kafka, topic, remembered) -> None:
    await send(kafka, topic, b"old", partition=0)
    await send(kafka, topic, b"old", partition=1)

    async with reading(kafka, topic, "latest", remembered=remembered) as one:
        await poll(one, 10)
        async with reading(kafka, topic, "latest", remembered=remembered) as other:
            values = [value for both in await asyncio.gather(poll(one, 40), poll(other, 40)) for value in both]
            await send(kafka, topic, b"new", partition=0)
            await send(kafka, topic, b"new", partition=1)
            values += [value for both in await asyncio.gather(poll(one, 20), poll(other, 20)) for value in both]

    assert values == [b"new", b"new"]


async def test_a_topic_that_did_not_exist_at_the_first_start_is_read_from_its_beginning(kafka, remembered) -> None:
    await asyncio.to_thread(kafka.forget)
    with pytest.raises(BrokerUnavailable):
        await read(kafka, "late", "latest", remembered=remembered)
    async with opened_admin(kafka) as admin:
        await admin.create_topics([NewTopic("late", 2, 1)])
    await send(kafka, "late", *(b"%d" % n for n in range(20)))

    values, _ = await read(kafka, "late", "latest", remembered=remembered)

    assert values == [b"%d" % n for n in range(20)]


async def test_what_an_older_version_read_is_no_first_start(kafka, topic) -> None:
    """It left offsets, and no row: a partition that is added while the version changes has records, too."""
    await read(kafka, topic, "latest")
    async with opened_admin(kafka) as admin:
        await admin.create_partitions({topic: NewPartitions(total_count=3)})
    await send(kafka, topic, b"added", partition=2)

    values, _ = await read(kafka, topic, "latest", polls=60, remembered=RememberedPositions())

    assert values == [b"added"]
