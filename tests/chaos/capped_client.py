"""
A process that offers each of many people several texts through the fence; prints how many it was let send.

    python -m tests.chaos.capped_client URL NAME FIRST_SEED PEOPLE
"""

import asyncio
import random
import sys
import time
import uuid

from schemas.messages import Lane
from tests.builders import account, ask
from worker.clock import SystemClock
from worker.delivery.asks import Claimed
from worker.delivery.ledger import Answer
from worker.delivery.queue import FenceQueue
from worker.policy.caps import Cap
from worker.servers import DatabaseSettings
from worker.state.batching import Batcher
from worker.state.database import open_database
from worker.state.fence import FenceStore
from worker.state.ledger import Ledger, Settlement

CAPS = (Cap("marketing:", 1, 86_400.0), Cap("marketing:", 2, 7 * 86_400.0))
ACCOUNT = account(segments_per_second=100_000, burst=100_000, max_in_flight=500)
AT_ONCE = 300


async def main(url: str, name: str, seed: int, people: int) -> None:
    draw, sent, refused = random.Random(seed), 0, 0
    # Transactional by purpose, so that no grants have to be written first: only caps are looked at here.
    async with open_database(DatabaseSettings(url=url, pool=5)) as database:
        fences = FenceStore(database, name, 60)
        settler = Batcher("settle", Ledger(database).settle, forgets=False)
        await fences.open_account("a")
        queue = FenceQueue("a", ACCOUNT, fences, SystemClock())
        running = [asyncio.create_task(queue.run()), asyncio.create_task(settler.run())]
        room = asyncio.Semaphore(AT_ONCE)

        async def offer(person: int) -> None:
            nonlocal sent, refused
            async with room:
                identity = str(uuid.uuid4())
                its = ask(
                    identity, holder=f"{name}:{identity}", lane=Lane.MARKETING, person=f"p-{person}",
                    queued_at=time.monotonic(), scope="marketing:offers:", caps=CAPS,
                )  # fmt: skip
                reply = await queue.ask(its)
                if not isinstance(reply, Claimed):
                    refused += 1
                    return
                # One in ten is refused by its number: it gives its place back.
                answer = Answer.RECIPIENT_REFUSED if draw.random() < 0.1 else Answer.ACCEPTED
                one = Settlement(claimed=reply.entry, answer=answer, burns=False, outcome=lambda _: b"{}")
                await settler.ask(one)
                queue.concurrency.end(0, None)  # as after a request: there is room again
                queue.wake()
                sent += 1

        everybody = list(range(people))
        draw.shuffle(everybody)
        await asyncio.gather(*(offer(person) for person in everybody))
        for task in running:
            task.cancel()
    print(sent, refused)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
