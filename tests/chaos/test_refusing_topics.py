"""When Kafka takes no outcome or no dead letter, the lane holds and says so; nothing is committed past it, and nothing is lost."""

import asyncio

import aiohttp
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.world import open_world, terminal
from worker.kafka.topics import committed_offset
from worker.state.schema import migrate

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]


async def limit(address: str, topic: str, size: int) -> None:
    """Let *topic* take records of *size* bytes at the most."""
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": str(size)})])
    await admin.close()


@pytest.mark.parametrize(
    ("topic", "phone", "ends"),
    [
        pytest.param("sms.outcomes", "+33671000001", {"accepted"}, id="the results topic"),
        pytest.param("sms.transactional.dlq", "+33600001340", set(), id="the dead-letter topic"),
    ],
)
async def test_what_cannot_be_written_holds_its_lane_and_alarms(
    kafka, postgres, tmp_path, topic: str, phone: str, ends: set
) -> None:
    url = postgres.new_database()
    await asyncio.to_thread(migrate, url)
    await asyncio.to_thread(kafka.forget)
    async with open_world(tmp_path, kafka.address, url, embedded=False) as world, world.process():
        await limit(kafka.address, topic, 100)
        await world.publish("order.shipped", {"phone": phone})
        ready = {}
        for _ in range(200):
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{world.port()}/readyz") as response,
            ):
                ready = (await response.json())["parts"]
            if not ready["kafka_writes"]:
                break
            await asyncio.sleep(0.1)
        await asyncio.sleep(2)
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
        await admin.start()
        (record,) = await world.read("sms.transactional", lambda found: len(found) >= 1)
        committed = await committed_offset(admin, "sms-sender-transactional", record.topic, record.partition)
        await admin.close()
        metrics = await world.metrics()

        await limit(kafka.address, topic, 1_000_000)
        outcomes = await world.outcomes(1) if ends else {}
        letters = [] if ends else await world.read(topic, lambda found: len(found) >= 1)

    assert ready["kafka_writes"] is False
    assert 'sms_kafka_writes_held{stage="sender-transactional"} 1.0' in metrics
    assert committed in (None, record.offset)
    assert list(terminal(outcomes).values()) == ([ends] if ends else [])
    assert len(letters) == (0 if ends else 1)
    assert max(world.provider.requests.values()) == 1
