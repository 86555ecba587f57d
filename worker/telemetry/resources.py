"""
What a process has only so much of: how much is used, of how much, what waits for it, and how often it failed.

Utilisation, saturation and errors of every resource, under four names. Source: https://www.brendangregg.com/usemethod.html
"""

from enum import StrEnum
from typing import NamedTuple

from worker.telemetry.catalogue import counter, gauge
from worker.telemetry.metrics import child


class Resource(StrEnum):
    """The closed list; beside each what its `name` is."""

    SLOTS = "slots"  # a sender's source: records worked on, and those that wait their turn in memory
    BUFFERED_RECORDS = "buffered_records"  # the same source: what waits in memory, of what may
    BUFFERED_BYTES = "buffered_bytes"
    BATCHES = "batches"  # an intake: written, and not acknowledged yet
    REQUESTS = "requests"  # an account: with the provider, and what waits for the fence
    CONNECTIONS = "database_connections"  # `urgent` or `others`
    WRITES = "kafka_writes"  # a stage: records in line for the broker
    DATABASE = "database"  # for failures: what was asked
    KAFKA = "kafka"  # for failures: `poll`, `commit` or `write`


USED = gauge("sms_resource_used", "How much of a resource this process uses now.", ["resource", "name"])
LIMIT = gauge(
    "sms_resource_limit",
    "Of how much; `requests` falls to 1 while a provider struggles. None of what has no limit of its own.",
    ["resource", "name"],
    worry="`database_connections` are all in use for minutes: raise `database.pool`, or find the slow statement.",
)
WAITING_FOR = gauge(
    "sms_resource_waiting",
    "What waits for a resource, in the same unit.",
    ["resource", "name"],
    worry="It grows for `database_connections` or `kafka_writes`; `requests` and `slots` wait whenever a campaign runs.",
)
FAILURES = counter(
    "sms_resource_failures_total",
    "Times that the database (by what was asked) or Kafka (`poll`, `commit`, `write`) did not do it, and was asked again.",
    ["resource", "name"],
    worry="It grows: `sms_state_store_up` and `sms_kafka_writes_held` say how bad it is.",
    quiet=True,
)


class Use(NamedTuple):
    """
    How a resource is used at this moment.

    Attributes:
        name: Which of its kind; a name of the configuration.
        limit: None where nothing but memory limits it.
        waiting: How many wait for it.
    """

    resource: Resource
    name: str
    used: float
    limit: float | None = None
    waiting: float = 0

    def tell(self) -> None:
        """Set its gauges."""
        child(USED, self.resource, self.name).set(self.used)
        child(WAITING_FOR, self.resource, self.name).set(self.waiting)
        if self.limit is not None:
            child(LIMIT, self.resource, self.name).set(self.limit)


ASKED = ("fence", "lookup", "settle", "people", "projection", "deferred", "seen_events", "telling", "hold")


def begin_at_zero() -> None:
    """Let failures be there before the first: what is born at 1 has not increased for anybody."""
    for name in ASKED:
        child(FAILURES, Resource.DATABASE, name)
    for name in ("poll", "commit", "write"):
        child(FAILURES, Resource.KAFKA, name)


def failed(resource: Resource, name: str) -> None:
    """Count that a resource did not do what it was asked."""
    child(FAILURES, resource, name).inc()
