"""What the worker is compared with: loops that any team would write in an afternoon, each in a process of its own."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import orjson
from aiokafka import AIOKafkaConsumer

IN_FLIGHT = 200
SAFE_WORKERS = 12  # as many as the topic has partitions: more consumers have nothing to read


def _body(value: bytes) -> bytes:
    message = orjson.loads(value)
    number = re.sub(r"\D", "", message["event"]["id"])
    return orjson.dumps({
        "recipients": [{"phone_number": message["recipient"]}], "text": f"order #{number} " + "x" * 100, "sender": "SHOP",
        "purpose": "alert", "request_id": message["id"],
    })  # fmt: skip


async def _posting(url: str, work: Callable[[Callable[[bytes], Awaitable[None]]], Awaitable[None]]) -> None:
    connector, deadline = aiohttp.TCPConnector(limit=IN_FLIGHT), aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(connector=connector, timeout=deadline) as session:

        async def post(value: bytes) -> None:
            body = _body(value)
            async with session.post(url, data=body, headers={"content-type": "application/json"}) as answer:
                await answer.read()

        await work(post)


async def gather_loop(bootstrap: str, topic: str, url: str, safe: bool) -> None:
    """Poll, post everything at once, commit: at least once, no order by key."""
    del safe
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=f"gather-{topic}", auto_offset_reset="earliest",
                                enable_auto_commit=False, fetch_max_wait_ms=100, session_timeout_ms=10_000)  # fmt: skip
    await consumer.start()

    async def work(post: Any) -> None:
        while True:
            batches = await consumer.getmany(timeout_ms=100, max_records=1000)
            if batches:
                await asyncio.gather(*(post(record.value) for records in batches.values() for record in records))
                await consumer.commit()

    await _posting(url, work)


async def faststream(bootstrap: str, topic: str, url: str, safe: bool) -> None:
    """FastStream: a consumer per partition that acknowledges after the work, or 200 workers that acknowledge before it."""
    from faststream import AckPolicy, FastStream
    from faststream.kafka import KafkaBroker

    async def as_it_is(message: Any) -> bytes:
        return message.body

    broker = KafkaBroker(bootstrap, logger=None)

    async def work(post: Any) -> None:
        @broker.subscriber(
            topic, group_id=f"faststream-{topic}", auto_offset_reset="earliest", session_timeout_ms=10_000,
            max_workers=SAFE_WORKERS if safe else IN_FLIGHT, decoder=as_it_is,
            ack_policy=AckPolicy.NACK_ON_ERROR if safe else AckPolicy.ACK_FIRST,
        )  # fmt: skip
        async def handle(value: bytes) -> None:
            await post(value)

        await FastStream(broker, logger=None).run()

    await _posting(url, work)
