"""What is wrong with the topics there are: compared with what the worker makes, and needs in production."""

from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient

from worker.kafka.clients import asking_kafka
from worker.kafka.retaining import retention_s
from worker.kafka.topics import Wanted, topic_configs, wanted_topics
from worker.settings import Settings

# What an input topic must keep records for at the least: a long weekend on which nobody looks.
LEAST_INPUT_S, DAY_S = 3 * 86_400.0, 86_400.0
COPIES, IN_SYNC = 3, 2


async def check_topics(admin: AIOKafkaAdminClient, settings: Settings) -> list[str]:
    """
    Return what is wrong with the topics there are, a sentence each.

    Raises:
        BrokerUnavailable: Kafka does not answer.
    """
    wanted = {topic.name: topic for topic in wanted_topics(settings)}
    with asking_kafka():
        there = {each["topic"]: each for each in await admin.describe_topics(list(wanted)) if not each["error_code"]}
        configs = await topic_configs(admin, there)
    problems = [f"{name}: is missing; run `sms-worker topics create`" for name in wanted if name not in there]
    for name, its in there.items():
        problems += [f"{name}: {told}" for told in _wrong(wanted[name], its, configs.get(name, {}), settings)]
    return problems


def _wrong(wanted: Wanted, there: Mapping[str, Any], config: Mapping[str, str], settings: Settings) -> Iterable[str]:
    partitions = there["partitions"]
    if wanted.ours and len(partitions) < wanted.partitions:
        yield f"has {len(partitions)} partitions, {wanted.partitions} are configured"
    if wanted.ours:
        yield from _kept(wanted, config)
    elif (kept := retention_s(config)) < LEAST_INPUT_S:
        yield f"is kept for {kept / DAY_S:g} days; what nobody has read by then is lost, so let it be at least 3"
    if settings.production:
        yield from _safe([len(each["replicas"]) for each in partitions], config)


def _kept(wanted: Wanted, config: Mapping[str, str]) -> Iterable[str]:
    needed = wanted.config.get("cleanup.policy", "delete")
    policy = config.get("cleanup.policy", needed)
    if policy != needed:
        yield f"cleanup.policy is {policy}; {needed} is needed, or records are lost"
    least = float(wanted.config.get("retention.ms", "0")) / 1000
    if retention_s(config) < least:
        yield f"retention.ms is {config['retention.ms']}; {least * 1000:.0f} is needed ({least / DAY_S:g} days)"
    bytes_needed = int(wanted.config.get("max.message.bytes", "0"))
    if int(config.get("max.message.bytes", bytes_needed)) < bytes_needed:
        yield f"max.message.bytes is {config['max.message.bytes']}; {bytes_needed} is needed"


def _safe(copies: list[int], config: Mapping[str, str]) -> Iterable[str]:
    least = min(copies, default=COPIES)
    if least < COPIES:
        yield f"is kept {least} times; production needs replication {COPIES}"
    if int(config.get("min.insync.replicas", IN_SYNC)) < IN_SYNC:
        yield f"min.insync.replicas is {config['min.insync.replicas']}; {IN_SYNC} is needed: one lost broker loses records"
    if config.get("unclean.leader.election.enable", "false") == "true":
        yield "unclean.leader.election.enable is true; false is needed, or a broker that lagged may drop records"
