"""Make and verify topics."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code
from aiokafka.structs import TopicPartition
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_random_exponential

from schemas.messages import Lane
from worker.errors import BrokerUnavailable, ConfigurationError, Problem
from worker.kafka.clients import asking_kafka, make_admin
from worker.servers import KafkaSettings
from worker.settings import Settings
from worker.topics import Topics

DAY_MS = 24 * 3600 * 1000
LANE_RETENTION_MS = 67 * DAY_MS  # the longest time to live that a template may have, 60 days, and 7 more
OUTCOME_RETENTION_MS = LETTER_RETENTION_MS = 30 * DAY_MS
REPLAY_RETENTION_MS, AUDIT_RETENTION_MS = 7 * DAY_MS, 365 * DAY_MS
COORDINATOR_S = 20.0
LETTER_BYTES = 1024 * 1024 + 64 * 1024  # a source's largest record, and the letter's own headers


@dataclass(frozen=True, slots=True)
class Wanted:
    """A topic as it should be."""

    name: str
    partitions: int
    config: dict[str, str]
    ours: bool = True


def wanted_topics(settings: Settings) -> list[Wanted]:
    """Return every topic that the worker reads or writes."""
    names = Topics(settings.kafka.prefix)
    plain = {"cleanup.policy": "delete"}
    letters = {**plain, "retention.ms": str(LETTER_RETENTION_MS), "max.message.bytes": str(LETTER_BYTES)}
    inputs = [
        Wanted(topic.name, topic.partitions, {}, ours=False)
        for intake in settings.intakes.values()
        for topic in intake.topics
    ]
    lanes = [
        Wanted(name, settings.lane(lane).partitions, {**plain, "retention.ms": str(LANE_RETENTION_MS)})
        for lane in Lane
        for name in (names.lane(lane), names.lane_due(lane))
    ]
    return [
        *inputs,
        *lanes,
        Wanted(names.outcomes, 6, {**plain, "retention.ms": str(OUTCOME_RETENTION_MS)}),
        *(Wanted(names.lane_dead_letters(lane), 3, letters) for lane in Lane),
        Wanted(names.router_dead_letters, 3, letters),
        Wanted(names.replay, 3, {**letters, "retention.ms": str(REPLAY_RETENTION_MS)}),
        Wanted(names.audit, 1, {**plain, "retention.ms": str(AUDIT_RETENTION_MS)}),
        Wanted(names.control, 1, {"cleanup.policy": "compact"}),
    ]


@asynccontextmanager
async def open_admin(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """
    Open an admin client.

    Raises:
        BrokerUnavailable: Kafka does not answer.
    """
    admin = make_admin(settings)
    try:
        with asking_kafka(settings.bootstrap_servers):
            await admin.start()
            yield admin
    finally:
        await admin.close()


async def topic_configs(admin: AIOKafkaAdminClient, topics: Collection[str]) -> dict[str, dict[str, str]]:
    """Return what is configured of each of *topics* that the broker tells about, its defaults included."""
    wanted = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in sorted(topics)]
    found: dict[str, dict[str, str]] = {}
    for answer in await admin.describe_configs(wanted):
        for code, _, _, name, entries in answer.resources:
            if code == 0:
                found[name] = {entry[0]: entry[1] for entry in entries}
    return found


async def require_topics(settings: Settings) -> list[str]:
    """
    Return the input topics that are missing: other teams may still make them.

    Raises:
        ConfigurationError: A topic of the worker's own is missing.
        BrokerUnavailable: Kafka does not answer.
    """
    async with open_admin(settings.kafka) as admin:
        there = set(await admin.list_topics())
    missing = [topic for topic in wanted_topics(settings) if topic.name not in there]
    if ours := [topic.name for topic in missing if topic.ours]:
        raise ConfigurationError(
            [Problem("kafka", None, n, "is missing; run `sms-worker topics create`") for n in ours]
        )
    return [topic.name for topic in missing]


async def create_topics(admin: AIOKafkaAdminClient, settings: Settings) -> list[str]:
    """
    Make the topics that are missing, input topics too; return their names.

    Raises:
        BrokerUnavailable: The broker refused one, with its reason.
    """
    there = set(await admin.list_topics())
    missing = [topic for topic in wanted_topics(settings) if topic.name not in there]
    replication = settings.kafka.replication
    config = {"min.insync.replicas": "2", "unclean.leader.election.enable": "false"} if settings.production else {}
    new = [NewTopic(t.name, t.partitions, replication, topic_configs={**t.config, **config}) for t in missing]
    answer = await admin.create_topics(new) if new else None
    for name, code, *_ in answer.topic_errors if answer else ():
        if code not in (0, 36):  # 36: somebody else made it meanwhile
            raise BrokerUnavailable(f"topic {name}: {for_code(code).__name__}")
    return [topic.name for topic in missing]


async def committed_offset(admin: AIOKafkaAdminClient, group: str, topic: str, partition: int) -> int | None:
    """Return what *group* has committed of a partition, or None."""
    key = TopicPartition(topic, partition)
    return (await committed_offsets(admin, group, [key])).get(key)


async def committed_offsets(
    admin: AIOKafkaAdminClient, group: str, keys: Sequence[TopicPartition]
) -> dict[TopicPartition, int]:
    """Return what *group* has committed, of the partitions where it has; waits for a coordinator that is on its way."""
    patiently = AsyncRetrying(
        retry=retry_if_exception(lambda error: isinstance(error, KafkaError) and bool(error.retriable)),
        stop=stop_after_delay(COORDINATOR_S),
        wait=wait_random_exponential(multiplier=0.1, max=1),
        reraise=True,
    )
    offsets: Mapping[TopicPartition, Any] = await patiently(
        admin.list_consumer_group_offsets, group, partitions=list(keys)
    )
    return {key: offsets[key].offset for key in keys if key in offsets and offsets[key].offset >= 0}
