"""
A process that wants to send as much as it can through one account's fence; prints what it was granted, a JSON line.

    python -m tests.chaos.fence_client URL NAME SECONDS
"""

import asyncio
import json
import random
import sys
import time
import uuid

from schemas.messages import Lane
from tests.builders import account, ask
from worker.clock import SystemClock
from worker.delivery.asks import Claimed, Settled
from worker.delivery.ledger import Answer
from worker.delivery.queue import FenceQueue
from worker.servers import DatabaseSettings
from worker.state.database import open_database
from worker.state.fence import FenceStore
from worker.state.ledger import Ledger, Settlement

ACCOUNT = account(segments_per_second=20, max_in_flight=30)
# Lane: most segments of a text, texts at once, pause between them. The marketing lane alone wants far more than there is.
DEMAND = {Lane.URGENT: (1, 1, 0.7), Lane.TRANSACTIONAL: (8, 2, 2.0), Lane.MARKETING: (8, 12, 0.0)}


async def want(queue: FenceQueue, ledger: Ledger, name: str, lane: Lane, ends: float, granted: list) -> None:
    """Ask, hold the claim for a moment, settle, and again."""
    most, _, pause_s = DEMAND[lane]
    while time.monotonic() < ends:
        identity, segments = str(uuid.uuid4()), random.randint(1, most)
        its = ask(
            identity, holder=f"{name}:{identity}", lane=lane, person=None, segments=segments, queued_at=time.monotonic()
        )
        try:
            reply = await asyncio.wait_for(queue.ask(its), max(0.1, ends + 3 - time.monotonic()))
        except TimeoutError:
            return
        assert isinstance(reply, Claimed)
        granted.append((identity, lane.value, segments))
        await asyncio.sleep(random.uniform(0.02, 0.1))
        its = Settlement(
            claimed=reply.entry,
            answer=Answer.ACCEPTED,
            burns=False,
            outcome=lambda _: b"{}",
        )
        await ledger.settle([its])
        await asyncio.sleep(pause_s)


async def main(url: str, name: str, seconds: float) -> None:
    granted: list[tuple[str, str, int]] = []
    async with open_database(DatabaseSettings(url=url, pool=5)) as database:
        fences, ledger = FenceStore(database, name, 60, ["a"]), Ledger(database)
        await fences.open_account("a")
        queue = FenceQueue("a", ACCOUNT, fences, SystemClock())
        running = asyncio.create_task(queue.run())
        ends = time.monotonic() + seconds
        wanting = [
            want(queue, ledger, name, lane, ends, granted) for lane, (_, many, _) in DEMAND.items() for _ in range(many)
        ]
        await asyncio.gather(*wanting)
        running.cancel()
    print(json.dumps(granted))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
