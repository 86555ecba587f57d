"""Where reading begins, how far behind it is, and how the process ends while its servers are away; on a real Kafka."""

import asyncio
import shutil
import subprocess

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.structs import TopicPartition

from tests.conftest import require
from tests.world import open_world
from worker.kafka.clients import make_consumer
from worker.kafka.source import Source
from tests.builders import SHIPPED
from worker.kafka.checking import check_topics
from worker.kafka.topics import committed_offset, create_topics, open_admin
from worker.environment import load_settings
from worker.servers import KafkaSettings
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


async def read(kafka, topic: str, start: str, group: str = "g", polls: int = 30) -> tuple[list[bytes], dict]:
    """Join the group, read for a while, leave; return the values and how far behind it was at the end."""
    consumer = make_consumer(
        KafkaSettings(bootstrap_servers=kafka.address, session_timeout_s=10), group, drain_s=1, urgent=False
    )
    source = Source("test", consumer, {topic: start}, nothing)
    await source.start()
    values = []
    for _ in range(polls):
        for assigned, record in await source.poll(100, 0.1):
            values.append(record.value)
            assigned.finished(record)
    behind = source.standing.behind_s()
    await source.stop()
    return values, behind


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
