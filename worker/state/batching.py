"""
Natural batching: the code asks for one message at a time, the database sees what gathered while it was busy.

The next batch is whatever came in while the last one ran; no timer, nothing to tune.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from worker.errors import PermanentError, StateUnavailable
from worker.telemetry.resources import Resource, failed

log = structlog.get_logger(__name__)
WOKEN_AT_ONCE = 64  # what they do next, reading, checking and composing, takes some four milliseconds
QuestionT = TypeVar("QuestionT")
AnswerT = TypeVar("AnswerT")


def hold_until_back(what: str, on_hold: Callable[[], None] = lambda: None) -> AsyncRetrying:
    """Return a retry that waits for the state store for as long as it takes, 0.1 to 3 seconds between tries."""

    def tell(state: RetryCallState) -> None:
        on_hold()
        failed(Resource.DATABASE, what)
        error = state.outcome.exception() if state.outcome else None
        log.warning("state.unavailable", what=what, error=str(error), tries=state.attempt_number)

    return AsyncRetrying(
        retry=retry_if_exception_type(StateUnavailable),
        wait=wait_random_exponential(multiplier=0.1, max=3),
        before_sleep=tell,
        reraise=True,
    )


class Batcher(Generic[QuestionT, AnswerT]):
    """
    Coalesces questions of concurrent tasks.

    Args:
        what: For logs.
        answer: Answers a batch, in its order; may raise StateUnavailable, which is held out,
            or PermanentError, which reaches only who asked for it.
        most: Questions in one batch.
        forgets: What nobody waits for any more is not asked; a provider's answer is written down all the same.
    """

    def __init__(
        self,
        what: str,
        answer: Callable[[Sequence[QuestionT]], Awaitable[Sequence[AnswerT]]],
        *,
        most: int = 256,
        forgets: bool = True,
    ) -> None:
        self._what = what
        self._answer = answer
        self._most = most
        self._forgets = forgets
        self._waiting: deque[tuple[QuestionT, asyncio.Future[AnswerT]]] = deque()
        self._woken = asyncio.Event()

    async def ask(self, question: QuestionT) -> AnswerT:
        """Return the answer to *question*; waits while the database is away. Cancelling forgets the question."""
        future: asyncio.Future[AnswerT] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future))
        self._woken.set()
        return await future

    async def run(self) -> None:
        """Answer for ever; belongs into a TaskGroup."""
        while True:
            await self._woken.wait()
            batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            if not self._waiting:
                self._woken.clear()
            batch = [(question, future) for question, future in batch if not (self._forgets and future.done())]
            if batch:
                await self._run_one(batch)

    async def _run_one(self, batch: list[tuple[QuestionT, asyncio.Future[AnswerT]]]) -> None:
        questions = [question for question, _ in batch]
        try:
            answers: Sequence[AnswerT] = await hold_until_back(self._what)(self._answer, questions)
        except PermanentError as error:
            await self._one_by_one(batch, error)
            return
        for count, ((_, future), answer) in enumerate(zip(batch, answers, strict=True)):
            if not future.done():
                future.set_result(answer)
            if count % WOKEN_AT_ONCE == WOKEN_AT_ONCE - 1:
                await asyncio.sleep(0)  # each goes on at the loop's next turn: not all of them at one

    async def _one_by_one(self, batch: list[tuple[QuestionT, asyncio.Future[AnswerT]]], error: PermanentError) -> None:
        """Find whose question it is that the database refuses; the others get their answers."""
        if len(batch) > 1:
            for one in batch:
                await self._run_one([one])
        elif not batch[0][1].done():
            batch[0][1].set_exception(error)
