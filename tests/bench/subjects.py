"""
What is measured, each in a process of its own; prints one JSON line.

    python -m tests.bench.subjects KIND '{"...": ...}'
"""

import asyncio
import gc
import json
import sys
import time
from pathlib import Path

import aiohttp
import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from schemas.cloudevents import CloudEvent
from schemas.events import EVENTS
from schemas.messages import Lane
from tests.bench import peers
from tests.bench.double import BODY
from worker.app import Duties, Role, open_worker
from worker.delivery.asks import Claimed
from worker.delivery.ledger import Entry, State
from worker.routing.loading import load_configuration
from worker.state.fence import FenceStore
from worker.state.ledger import Ledger, _after
from worker.telemetry import metrics
from worker.telemetry.log import set_up_logging

IN_FLIGHT = 200


async def bare_router(bootstrap: str, topic: str, out: str, count: int) -> tuple[float, float]:
    """Consume, parse with the same models, produce, commit: no rule, look-up, id, sealing or dead letter."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=f"bare-{out}", auto_offset_reset="earliest",
                                enable_auto_commit=False, fetch_max_wait_ms=100)  # fmt: skip
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=False)
    await producer.start()
    await consumer.start()
    await consumer._client._wait_on_metadata(out)
    done, began = 0, None
    while done < count:
        batches = await consumer.getmany(timeout_ms=100, max_records=1000)
        began = began or ((time.perf_counter(), time.process_time()) if batches else None)
        futures = []
        for records in batches.values():
            for record in records:
                envelope = {name[3:]: value.decode() for name, value in record.headers if name.startswith("ce_")}
                event = CloudEvent.model_validate(envelope)
                data = EVENTS[event.type].model_validate_json(record.value)
                futures.append(await producer.send(out, data.model_dump_json().encode(), key=record.key))
        if futures:
            await asyncio.gather(*futures)
            await consumer.commit()
        done += len(futures)
    spent = time.perf_counter() - began[0], time.process_time() - began[1]
    await consumer.stop()
    await producer.stop()
    return spent


async def bare_sender(bootstrap: str, topic: str, out: str, count: int, url: str) -> tuple[float, float]:
    """Consume up to 1,000, post them with the same client, 200 in flight, produce, commit: a barrier per batch, no ledger."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=f"bare-{out}-{time.time()}", auto_offset_reset="earliest",
                                enable_auto_commit=False, fetch_max_wait_ms=100)  # fmt: skip
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=False)
    await producer.start()
    await consumer.start()
    connector = aiohttp.TCPConnector(limit=IN_FLIGHT)
    done, began = 0, None
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=10)) as session:

        async def post(record) -> None:
            message = orjson.loads(record.value)
            body = orjson.dumps({"recipients": [{"phone_number": "+33612345678"}], "text": "x" * 100, "sender": "SHOP",
                                 "purpose": "alert", "request_id": message["id"]})  # fmt: skip
            async with session.post(url, data=body, headers={"content-type": "application/json"}) as response:
                answer = orjson.loads(await response.read())
            await (
                await producer.send(
                    out, orjson.dumps({"id": message["id"], "ticket": answer["sms_ticket"]}), key=record.key
                )
            )

        while done < count:
            batches = await consumer.getmany(timeout_ms=100, max_records=1000)
            began = began or ((time.perf_counter(), time.process_time()) if batches else None)
            records = [record for batch in batches.values() for record in batch]
            if records:
                await asyncio.gather(*(post(record) for record in records))
                await consumer.commit()
            done += len(records)
        spent = time.perf_counter() - began[0], time.process_time() - began[1]
    await consumer.stop()
    await producer.stop()
    return spent


async def worker(config: str, role: str, count: int) -> tuple[float, float]:
    """The worker as it is, with one role, until it has handled *count*."""
    configuration = load_configuration(Path(config))
    stop = asyncio.Event()
    counter = metrics.RECORDS if role == "router" else metrics.OUTCOMES
    async with open_worker(configuration, Duties(roles=[Role(role)], lanes=[Lane.TRANSACTIONAL])) as its:
        running = asyncio.create_task(its.run(stop))
        began = None
        read = metrics.RECORDS_READ if role == "router" else metrics.MESSAGES_READ
        while _total(counter) < count:
            if began is None and _total(read) > 0:
                began = time.perf_counter(), time.process_time()
            await asyncio.sleep(0.005)
            if running.done():
                await running
        if role == "router":  # counted before the broker's word; wait for it
            for sink in its._stage.sinks.values():
                await sink.drain(10)
        spent = time.perf_counter() - began[0], time.process_time() - began[1]
        stop.set()
        await running
    return spent


async def worker_without_ledger(config: str, role: str, count: int) -> tuple[float, float]:
    """The same with a ledger that forgets everything: what is left is what the guarantees do not cost."""

    async def grant(self, name, account, asks):
        del self, name
        return [Claimed(1, ask.holder, entry=_row(ask, account)) for ask in asks]

    async def settle(self, settlements):
        del self
        return [_after(one) for one in settlements]

    async def load(self, connection, ids, *, locked=False):
        del self, connection, ids, locked
        return {}

    FenceStore.pass_through, Ledger.settle, Ledger.load = grant, settle, load
    return await worker(config, role, count)


def _row(ask, account) -> Entry:
    return Entry(
        message_id=ask.message_id, fingerprint=ask.fingerprint, state=State.CLAIMED, attempt=1, holder=ask.holder,
        account="", lease_until=account.lease_s, ref_since=0.0,
    )  # fmt: skip


def _total(counter) -> float:
    return sum(child._value.get() for child in list(counter._metrics.values()))


async def ceiling(port: int, count: int) -> tuple[float, float]:
    """What the double itself can answer: raw connections, no HTTP client."""
    request = b"POST /v1/public/sms-campaign/send HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
    began, each = (time.perf_counter(), time.process_time()), count // IN_FLIGHT

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(each):
            writer.write(request)
            await reader.readuntil(BODY)
        writer.close()

    await asyncio.gather(*(connection() for _ in range(IN_FLIGHT)))
    return time.perf_counter() - began[0], time.process_time() - began[1]


KINDS = {
    its.__name__: its
    for its in (bare_router, bare_sender, worker, worker_without_ledger, ceiling, peers.gather_loop, peers.faststream)
}


def main() -> None:
    arguments = json.loads(sys.argv[2])
    set_up_logging("WARNING")
    gc.freeze()
    spent = uvloop.run(KINDS[sys.argv[1]](**arguments))
    if spent is None:  # a peer, which runs until it is killed
        return
    (wall, cpu), count = spent, arguments["count"]
    print(
        json.dumps({"per_s": round(count / wall, 1), "cpu_us": round(cpu / count * 1e6, 1), "wall_s": round(wall, 2)})
    )


if __name__ == "__main__":
    main()
