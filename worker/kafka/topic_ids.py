"""
Which topic a name stands for now: a topic that is deleted and made again has the same name and another id.

The client knows no topic ids, so the request is built here from the client's own protocol types.
"""

import uuid
from collections.abc import Collection
from io import BytesIO
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

UNKNOWN = ""  # of a broker that is too old to know ids, or does not know the topic
_NO_ID = uuid.UUID(int=0)
_TEXT = CompactString("utf-8")


class _Uuid(AbstractType):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: uuid.UUID) -> bytes:
        """Return the 16 bytes."""
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> uuid.UUID:
        """Read 16 bytes."""
        return uuid.UUID(bytes=data.read(16))


_PARTITION = (
    ("error_code", Int16),
    ("partition_index", Int32),
    ("leader_id", Int32),
    ("leader_epoch", Int32),
    ("replica_nodes", CompactArray(Int32)),
    ("isr_nodes", CompactArray(Int32)),
    ("offline_replicas", CompactArray(Int32)),
    ("tags", TaggedFields),
)
_BROKER = (("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT), ("tags", TaggedFields))
_TOPIC = (
    ("error_code", Int16),
    ("name", _TEXT),
    ("topic_id", _Uuid),
    ("is_internal", Boolean),
    ("partitions", CompactArray(*_PARTITION)),
    ("authorized_operations", Int32),
    ("tags", TaggedFields),
)


class _Metadata10(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = 3, 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("brokers", CompactArray(*_BROKER)),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        ("topics", CompactArray(*_TOPIC)),
        ("authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _AskMetadata10(RequestStruct):  # type: ignore[misc]
    """
    Metadata, version 10, the first with topic ids.

    Source: https://kafka.apache.org/protocol#The_Messages_Metadata
    """

    FLEXIBLE_VERSION = True
    API_KEY, API_VERSION = 3, 10
    RESPONSE_TYPE = _Metadata10
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", _TEXT), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _AskMetadata(Request[_AskMetadata10]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, topics: Collection[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_AskMetadata10]) -> Any:
        """Return the request; it makes no topic."""
        return request_struct_class([(_NO_ID, name, {}) for name in sorted(self._topics)], False, False, False, {})


async def topic_ids(consumer: AIOKafkaConsumer, topics: Collection[str]) -> dict[str, str]:
    """
    Return the id of each of *topics*, 32 hex digits; `UNKNOWN` where the broker does not say.

    Raises:
        KafkaError: The broker does not answer.
    """
    client = consumer._client  # noqa: SLF001  the consumer offers no way to send a request of one's own
    found = dict.fromkeys(topics, UNKNOWN)
    try:
        answer = await client.send(client.get_random_node(), _AskMetadata(topics))
    except (IncompatibleBrokerVersion, NotImplementedError):
        return found
    return found | {its[1]: its[2].hex for its in answer.topics if its[0] == 0 and its[2] != _NO_ID}
