"""How the client is set up, and why."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from weakref import WeakSet

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from worker.errors import BrokerUnavailable, ConfigurationError, is_cut_off
from worker.servers import KafkaSettings

# Tansu polls instead of waking a waiting fetch: half of the longest wait is added to each record's way.
EMBEDDED_FETCH_WAIT_MS, FETCH_WAIT_MS = 20, 100
_running: "WeakSet[Any]" = WeakSet()  # clients that a process keeps, and that connect again by themselves
REQUEST_TIMEOUT_MS = 15_000
log = structlog.get_logger(__name__)


def connection(settings: KafkaSettings) -> dict[str, Any]:
    """Return what every client needs to reach the broker."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "security_protocol": settings.security_protocol,
        "client_id": f"{settings.prefix}-worker",
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        "metadata_max_age_ms": 60_000,
    }
    if "SSL" in settings.security_protocol:
        options["ssl_context"] = settings.tls()
    if "SASL" in settings.security_protocol:
        options |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.username,
            "sasl_plain_password": settings.read_password(),
        }
    return options


def make_consumer(settings: KafkaSettings, group: str, *, drain_s: float, urgent: bool) -> AIOKafkaConsumer:
    """
    Return a consumer of *group*, not started.

    Bytes in, bytes out: a deserializer that raises would leave the position where it is, for ever. One assignor:
    the client joins once per assignor, and the sticky one shares its state among all consumers of a process.
    """
    consumer = AIOKafkaConsumer(
        **connection(settings),
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="none",  # an offset out of range is an incident that somebody must hear of: see Source
        isolation_level="read_uncommitted" if settings.embedded else "read_committed",  # an aborted order must not text
        partition_assignment_strategy=(RoundRobinPartitionAssignor,),
        session_timeout_ms=int((10 if urgent and not settings.embedded else settings.session_timeout_s) * 1000),
        heartbeat_interval_ms=1_000,
        rebalance_timeout_ms=int(max(10.0, drain_s * 3) * 1000),
        max_poll_interval_ms=1_200_000,  # a router's poller waits for a database that is away; the watchdog finds a dead one
        fetch_max_wait_ms=EMBEDDED_FETCH_WAIT_MS if settings.embedded else (50 if urgent else FETCH_WAIT_MS),
        max_partition_fetch_bytes=1024 * 1024,
        fetch_max_bytes=8 * 1024 * 1024,
    )
    _running.add(consumer)
    return consumer


class Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """
    What a consumer calls inside a rebalance, while the whole group waits.

    Args:
        revoked: Called before the partitions go: all of them, as rebalancing is eager.
        assigned: Called with the partitions that came.
    """

    def __init__(
        self,
        revoked: Callable[[], Awaitable[None]],
        assigned: Callable[[Collection[TopicPartition]], Awaitable[None]],
    ) -> None:
        self._revoked = revoked
        self._assigned = assigned

    async def on_partitions_revoked(self, _: Collection[TopicPartition]) -> None:
        """Finish, commit and forget."""
        await self._revoked()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Begin with *assigned*."""
        await self._assigned(assigned)


def make_producer(settings: KafkaSettings) -> AIOKafkaProducer:
    """
    Return a producer, not started.

    Plain, not idempotent: with idempotence one record that the broker refuses fails every later send to its partition.
    Ids absorb duplicates, and one batch in flight per partition keeps the order.
    """
    producer = AIOKafkaProducer(
        **connection(settings), acks="all", enable_idempotence=False, linger_ms=0, max_batch_size=256 * 1024
    )
    _running.add(producer)
    return producer


def make_admin(settings: KafkaSettings) -> AIOKafkaAdminClient:
    """Return an admin client, not started."""
    options = connection(settings)
    return AIOKafkaAdminClient(**options)


class SecretFiles:
    """Gives running clients the password and certificates in files when these have changed, for when they connect next."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._password, self._certificates = settings.read_password(), settings.read_certificates()

    async def look(self) -> None:
        """Read the files; one that is away, empty or does not fit the others yet changes nothing."""
        for look in (self._look_at_password, self._look_at_certificates):
            try:
                await look()
            except ConfigurationError as error:
                log.warning("kafka.secrets_unreadable", error=str(error))

    async def _look_at_password(self) -> None:
        password = await asyncio.to_thread(self._settings.read_password)
        if password != self._password:
            self._renew("_sasl_plain_password", password)
            self._password = password
            log.info("kafka.password_renewed")

    async def _look_at_certificates(self) -> None:
        certificates = await asyncio.to_thread(self._settings.read_certificates)
        if certificates != self._certificates:
            self._renew("_ssl_context", await asyncio.to_thread(self._settings.tls))
            self._certificates = certificates
            log.info("kafka.certificates_renewed")

    @staticmethod
    def _renew(name: str, value: object) -> None:
        for client in list(_running):  # a consumer's is private, a producer's is not; it is read at each connection
            inner = client.client if isinstance(client, AIOKafkaProducer) else client._client  # noqa: SLF001
            setattr(inner, name, value)


def keep_renewed(client: AIOKafkaConsumer) -> AIOKafkaConsumer:
    """Return *client*, which gets new secrets as those do that are made here."""
    _running.add(client)
    return client


@contextmanager
def asking_kafka(what: str = "Kafka") -> Iterator[None]:
    """
    Say in one way that the broker does not answer.

    Raises:
        BrokerUnavailable: It refused, was silent for too long, or its connection was closed under whoever wrote to it.
    """
    try:
        yield
    except (KafkaError, TimeoutError) as error:
        raise BrokerUnavailable(f"{what} does not answer: {type(error).__name__}") from error
    except RuntimeError as error:
        if not is_cut_off(error):
            raise
        raise BrokerUnavailable(f"{what} does not answer: its connection was closed") from error


async def part_from(client: AIOKafkaConsumer | AIOKafkaProducer, deadline_s: float) -> None:
    """Stop a client; a broker that is away, or goes in that very moment, keeps nobody from ending."""
    with suppress(BrokerUnavailable), asking_kafka():
        async with asyncio.timeout(deadline_s):
            await client.stop()
