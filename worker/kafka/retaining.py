"""How long each topic keeps its records, so that a lag can be told as a share of that."""

import asyncio
import math
from collections.abc import Collection, Mapping

import structlog

from worker.clock import Clock
from worker.errors import BrokerUnavailable, ConfigurationError
from worker.kafka.clients import asking_kafka
from worker.kafka.standing import Standing
from worker.kafka.topics import open_admin, topic_configs
from worker.servers import KafkaSettings
from worker.telemetry import metrics

log = structlog.get_logger(__name__)
EVERY_S, AGAIN_S, ANSWER_S = 3600.0, 60.0, 30.0
DELETES = "delete"  # of cleanup.policy; a compacted topic drops no last record


def retention_s(config: Mapping[str, str]) -> float:
    """Return how long a topic keeps a record, in seconds; infinity if for ever, or as long as it is its key's last."""
    if DELETES not in config.get("cleanup.policy", DELETES):
        return math.inf
    milliseconds = float(config.get("retention.ms", "-1"))
    return milliseconds / 1000 if milliseconds >= 0 else math.inf


class Retaining:
    """
    Tells how far sources are behind, in records, in seconds, and as a share of what their topics keep.

    Args:
        topics: That this process reads.
    """

    def __init__(self, settings: KafkaSettings, topics: Collection[str], clock: Clock) -> None:
        self._settings = settings
        self._topics = topics
        self._clock = clock
        self._retention_s: dict[str, float] = {}

    async def run(self) -> None:
        """Ask every hour; belongs into a TaskGroup. A broker that is away, or keeps it to itself, is asked again."""
        while True:
            await self._clock.sleep(EVERY_S if await self._ask() else AGAIN_S)

    async def _ask(self) -> bool:
        try:
            async with asyncio.timeout(ANSWER_S), open_admin(self._settings) as admin:
                with asking_kafka():
                    configs = await topic_configs(admin, self._topics)
        except (BrokerUnavailable, ConfigurationError, TimeoutError) as error:
            log.warning("kafka.retention_unknown", error=str(error))
            return False
        self._retention_s |= {topic: retention_s(config) for topic, config in configs.items()}
        if missing := sorted(set(self._topics) - configs.keys()):  # not there yet, or without the right to describe it
            log.warning("kafka.retention_unknown", topics=missing)
        return not missing

    def observe(self, source: str, standing: Standing) -> None:
        """Set the gauges of *source*."""
        for topic, lag in standing.lag().items():
            metrics.child(metrics.LAG, source, topic).set(lag)
        for topic, seconds in standing.lag_s().items():
            metrics.child(metrics.LAG_S, source, topic).set(seconds)
            if topic in self._retention_s:
                metrics.child(metrics.RETENTION_USED, source, topic).set(seconds / self._retention_s[topic])
