"""librdkafka's mock cluster, in this process: a broker that answers with the very errors a test wants."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path

import confluent_kafka


class Api(IntEnum):
    """Kafka's API keys."""

    PRODUCE = 0
    FETCH = 1
    OFFSET_COMMIT = 8
    JOIN_GROUP = 11
    HEARTBEAT = 12


def _library() -> ctypes.CDLL:
    folder = Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs"
    lib = ctypes.CDLL(str(next(folder.glob("librdkafka*.so*"))))
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    lib.rd_kafka_conf_new.restype = pointer
    lib.rd_kafka_new.restype = pointer
    lib.rd_kafka_new.argtypes = [ctypes.c_int, pointer, text, ctypes.c_size_t]
    lib.rd_kafka_destroy.argtypes = [pointer]
    lib.rd_kafka_mock_cluster_new.restype = pointer
    lib.rd_kafka_mock_cluster_new.argtypes = [pointer, ctypes.c_int]
    lib.rd_kafka_mock_cluster_destroy.argtypes = [pointer]
    lib.rd_kafka_mock_cluster_bootstraps.restype = text
    lib.rd_kafka_mock_cluster_bootstraps.argtypes = [pointer]
    lib.rd_kafka_mock_topic_create.argtypes = [pointer, text, ctypes.c_int, ctypes.c_int]
    lib.rd_kafka_mock_push_request_errors_array.argtypes = [
        pointer,
        ctypes.c_int16,
        ctypes.c_size_t,
        ctypes.POINTER(ctypes.c_int),
    ]
    lib.rd_kafka_mock_partition_set_leader.argtypes = [pointer, text, ctypes.c_int32, ctypes.c_int32]
    lib.rd_kafka_mock_coordinator_set.argtypes = [pointer, text, text, ctypes.c_int32]
    for name in ("rd_kafka_mock_broker_set_down", "rd_kafka_mock_broker_set_up"):
        getattr(lib, name).argtypes = [pointer, ctypes.c_int32]
    return lib


class MockCluster:
    """Brokers 1 to n."""

    def __init__(self, lib: ctypes.CDLL, cluster: int) -> None:
        self._lib, self._cluster = lib, cluster
        self.address: str = lib.rd_kafka_mock_cluster_bootstraps(cluster).decode()

    def topic(self, name: str, partitions: int = 1) -> None:
        self._lib.rd_kafka_mock_topic_create(self._cluster, name.encode(), partitions, 1)

    def errors(self, api: Api, *codes: int) -> None:
        """Answer the next requests of *api* with *codes*, one each."""
        array = (ctypes.c_int * len(codes))(*codes)
        self._lib.rd_kafka_mock_push_request_errors_array(self._cluster, api, len(codes), array)

    def lead(self, topic: str, broker: int) -> None:
        self._lib.rd_kafka_mock_partition_set_leader(self._cluster, topic.encode(), 0, broker)

    def coordinate(self, group: str, broker: int) -> None:
        self._lib.rd_kafka_mock_coordinator_set(self._cluster, b"group", group.encode(), broker)

    def down(self, broker: int) -> None:
        self._lib.rd_kafka_mock_broker_set_down(self._cluster, broker)

    def up(self, broker: int) -> None:
        self._lib.rd_kafka_mock_broker_set_up(self._cluster, broker)


@contextmanager
def running(brokers: int = 1) -> Iterator[MockCluster]:
    """Run a mock cluster until the block ends."""
    lib = _library()
    client = lib.rd_kafka_new(0, lib.rd_kafka_conf_new(), None, 0)
    cluster = lib.rd_kafka_mock_cluster_new(client, brokers)
    try:
        yield MockCluster(lib, cluster)
    finally:
        lib.rd_kafka_mock_cluster_destroy(cluster)
        lib.rd_kafka_destroy(client)
