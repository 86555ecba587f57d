"""Writes that a connection's end cuts off are held and made again."""

import asyncio

from worker.kafka.sink import Sink
from worker.records import Outgoing

CUT = RuntimeError("unable to perform operation on <TCPTransport closed=True reading=False 0x1>; the handler is closed")


class Producer:
    """Fails as told, then takes everything."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.values = list(errors), []

    async def partitions_for(self, topic: str) -> set[int]:
        return {0}

    def create_batch(self):
        return Batch()

    async def send_batch(self, batch, topic: str, *, partition: int):
        if self.errors:
            raise self.errors.pop(0)
        self.values += batch.values
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


class Batch:
    def __init__(self) -> None:
        self.values: list[bytes] = []

    def append(self, *, timestamp, key, value, headers) -> object:
        self.values.append(value)
        return object()


async def test_a_connection_that_is_closed_under_a_write_is_a_broker_that_is_away_for_a_moment() -> None:
    producer = Producer(CUT)
    async with asyncio.TaskGroup() as tasks:
        sink = Sink(producer, tasks)
        await asyncio.wait_for(sink.publish(Outgoing("out", b"k", b"v")), 10)

    assert producer.values == [b"v"]
    assert not sink.held
