"""Where messages of one account wait for the fence: the most urgent first, then the oldest."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from schemas.messages import Lane
from worker.clock import Clock
from worker.delivery.accounts import Account
from worker.delivery.asks import Ask, Busy, Claimed, Deferred, IdReused, Reply, Settled, Wait
from worker.delivery.concurrency import ConcurrencyLimit
from worker.delivery.fence import in_order
from worker.errors import CheckAgain, PermanentError, StateUnavailable, Stopping
from worker.policy.verdicts import Send
from worker.telemetry.resources import Resource, Use, failed

MOST_IN_A_BATCH, WOKEN_AT_ONCE = 256, 64
LONGEST_NAP_S = 1.0
FULL_NAP_S = 0.25  # a request that ends wakes the queue sooner
RETRY_S = (0.2, 1.0)


Answer = Claimed | Settled | Deferred | Busy | IdReused
Promise = asyncio.Future[Answer]
Waiting = tuple[Ask, Promise]


class Fences(Protocol):
    """The state store's side of the fence."""

    async def pass_through(self, name: str, account: Account, asks: Sequence[Ask]) -> list[Reply]:
        """Decide *asks* in one transaction."""

    async def hold(self, name: str, seconds: float, reason: str) -> None:
        """Keep everybody from using the account for *seconds*."""


class FenceQueue:
    """
    Asks the fence for messages until each has its answer.

    Natural batching: while a transaction runs, the next batch gathers. What must wait stays here, and is asked for again
    when the fence said it may help.

    Args:
        is_paused: Whether an operator paused what is asked for: its account, lane or route.
    """

    def __init__(
        self,
        name: str,
        account: Account,
        fences: Fences,
        clock: Clock,
        is_paused: Callable[[Ask], bool] = lambda _: False,
    ) -> None:
        self.name = name
        self.account = account
        self._fences = fences
        self._clock = clock
        self._is_paused = is_paused
        self._waiting: dict[int, Waiting] = {}
        self._woken = asyncio.Event()
        self._deciding: set[str] = set()
        self._closed = False
        self.concurrency = ConcurrencyLimit(account.max_in_flight)
        self._waits: dict[Lane, str] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def waits_of(self, lane: Lane) -> str | None:
        """Return why messages of *lane* wait; None if none does, or if it is their turn."""
        return self._waits.get(lane)

    def use(self) -> Use:
        """Return how many requests are with the provider, of how many may be, and how many messages wait for the fence."""
        return Use(Resource.REQUESTS, self.name, self.concurrency.under_way, self.concurrency.limit, len(self))

    async def ask(self, ask: Ask) -> Answer:
        """
        Return the fence's answer; waits for rate, hold and state store.

        Raises:
            Stopping: The process is ending before the fence was passed.
        """
        if self._closed:
            raise Stopping
        future: Promise = asyncio.get_running_loop().create_future()
        place = id(future)
        self._waiting[place] = (ask, future)
        self._woken.set()
        try:
            return await future
        except asyncio.CancelledError:
            answered = future.done() and not future.cancelled() and future.exception() is None
            if answered and isinstance(future.result(), Claimed):
                self.concurrency.end(0, None)
            raise
        finally:
            self._waiting.pop(place, None)

    def close(self) -> None:
        """Let nobody else through: who waits gets `Stopping`, but for those whom a transaction is deciding on."""
        self._closed = True
        for ask, future in self._waiting.values():
            if ask.holder not in self._deciding and not future.done():
                future.set_exception(Stopping())

    async def run(self) -> None:
        """Answer for ever; belongs into a TaskGroup."""
        nap_s: float | None = None
        while True:
            await self._wait(nap_s)
            self._woken.clear()
            nap_s = await self._round()

    async def _wait(self, nap_s: float | None) -> None:
        if self._woken.is_set():
            return
        if nap_s is None:
            await self._woken.wait()
            return
        try:
            async with asyncio.timeout(nap_s):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _round(self) -> float | None:
        """Ask once; return how long to rest if somebody still waits."""
        by_holder = {ask.holder: (ask, future) for ask, future in self._waiting.values() if not future.done()}
        going = in_order(ask for ask, _ in by_holder.values() if not self._is_paused(ask))
        asks = self._chosen(going)
        # A lane that waits behind another waits for the account; one that a transaction decides on does not.
        chosen = {ask.holder for ask in asks}
        self._waits = {ask.lane: "paused" for ask, _ in by_holder.values() if self._is_paused(ask)}
        deciding = {ask.lane for ask in asks}
        self._waits |= {ask.lane: "concurrency" for ask in going if ask.lane not in deciding}
        if not asks:
            return FULL_NAP_S if by_holder else None
        asked_at = self._clock.monotonic(), time.time()
        self._deciding = chosen
        naps, waits = list[Wait](), dict[Lane, str]()
        try:
            replies = await self._decide(asks)
            for count, (ask, reply) in enumerate(zip(asks, replies, strict=True)):
                if (wait := self._answer(by_holder[ask.holder][1], reply, asked_at)) is not None:
                    naps.append(wait)
                    waits.setdefault(ask.lane, wait.why)
                elif count % WOKEN_AT_ONCE == WOKEN_AT_ONCE - 1:
                    await asyncio.sleep(0)  # each goes on at the loop's next turn: not all of them at one
        except PermanentError as error:
            return await self._single_out(asks, by_holder, error)
        finally:
            self._deciding = set()  # only now: whoever is answered last has its claim already
        self._waits |= waits
        if naps and naps[0].why == "held":
            self.concurrency.restart()
        if not naps:
            return 0.0 if len(by_holder) > len(asks) else None
        return min(LONGEST_NAP_S, max(0.005, min(nap.retry_in_s for nap in naps)))

    def _chosen(self, asks: Sequence[Ask]) -> list[Ask]:
        """
        Return who is asked for now: the first, and of those that would send only as many as the provider stands.

        Codes have a few requests more than that, as they have in the account's own limit: they would expire in a queue.
        """
        chosen, room = list[Ask](), self.concurrency.room
        over = self.concurrency.under_way - self.concurrency.limit
        first = next((ask for ask in asks if isinstance(ask.verdict, Send)), None)
        if room == 0 and over < self.account.reserved_in_flight and first is not None and first.lane is Lane.URGENT:
            room = 1
        for ask in asks:
            if len(chosen) == MOST_IN_A_BATCH:
                break
            if isinstance(ask.verdict, Send):
                if room == 0:
                    continue
                room -= 1
            chosen.append(ask)
        return chosen

    def wake(self) -> None:
        """Ask again: a request has ended, and there is room."""
        self._woken.set()

    def resume(self) -> None:
        """Begin with one request after a pause: what has gathered must be no blow to the provider."""
        self.concurrency.restart()
        self._woken.set()

    def check_again(self) -> None:
        """Let whoever waits be checked anew, by the rules and texts of now, but for those whom a transaction decides on."""
        for ask, future in self._waiting.values():
            if ask.holder not in self._deciding and not future.done():
                future.set_exception(CheckAgain())

    async def _single_out(self, asks: Sequence[Ask], waiting: Mapping[str, Waiting], error: PermanentError) -> float:
        """The database refuses one of *asks*: ask one at a time, and tell whoever it is."""
        for ask in asks:
            future, asked_at = waiting[ask.holder][1], (self._clock.monotonic(), time.time())
            try:
                (reply,) = await self._decide([ask])
            except PermanentError:
                if not future.done():
                    future.set_exception(error)
            else:
                self._answer(future, reply, asked_at)
        return 0.05

    def _answer(self, future: Promise, reply: Reply, asked_at: tuple[float, float]) -> Wait | None:
        """
        Hand *reply* to whoever waits for it; return it if that is to wait on.

        Args:
            future: Who waits.
            reply: Of the fence.
            asked_at: When it was asked, in monotonic seconds and by the host's time of day.
        """
        if isinstance(reply, Wait):
            if self._closed and not future.done():
                future.set_exception(Stopping())
            return reply
        if not future.done():
            if isinstance(reply, Claimed):
                self.concurrency.begin()
                reply = replace(reply, asked_at=asked_at[0], asked_wall=asked_at[1])
            future.set_result(reply)
        return None

    async def _decide(self, asks: Sequence[Ask]) -> list[Reply]:
        """Ask until the state store answers; the same batch, as an answer that was lost may have claimed."""
        while True:
            try:
                return await self._fences.pass_through(self.name, self.account, asks)
            except StateUnavailable:
                self._waits = dict.fromkeys(Lane, "state")
                failed(Resource.DATABASE, "fence")
                await self._clock.sleep(random.uniform(*RETRY_S))  # noqa: S311  spreads processes, hides nothing
