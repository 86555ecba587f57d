"""A worker begins when what it needs answers: until then it waits, says so, and can be told to stop."""

import asyncio

import structlog
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_delay,
    stop_when_event_set,
    wait_random_exponential,
)

from worker.app import Duties, open_worker
from worker.errors import TransientError, leaves
from worker.kafka.topics import require_topics
from worker.lifecycle import done_before
from worker.routing.loading import Configuration
from worker.telemetry.tracing import open_tracing

log = structlog.get_logger(__name__)


async def run_worker(configuration: Configuration, duties: Duties, stop: asyncio.Event) -> None:
    """
    Run a worker until *stop*; a start while Kafka or the state store are away is tried again, `start_patience_s` long.

    Raises:
        ConfigurationError: A topic or a secret is missing, or the database is another's.
        BaseExceptionGroup: What made a running worker end; a WorkerError each, unless it is a mistake of ours.
    """
    began = asyncio.Event()
    waiting = AsyncRetrying(
        retry=retry_if_exception(lambda error: not began.is_set() and _will_pass(error)),
        stop=stop_after_delay(configuration.settings.start_patience_s) | stop_when_event_set(stop),  # type: ignore[arg-type]
        wait=wait_random_exponential(multiplier=0.5, max=5),
        before_sleep=_tell,
        sleep=lambda seconds: _sleep_until(stop, seconds),
        reraise=True,
    )
    try:
        await waiting(_once, configuration, duties, stop, began)
    except Exception as error:
        if not (stop.is_set() and not began.is_set() and _will_pass(error)):
            raise


async def _once(configuration: Configuration, duties: Duties, stop: asyncio.Event, began: asyncio.Event) -> None:
    opened = asyncio.Event()

    settings = configuration.settings

    async def work() -> None:
        for topic in await require_topics(configuration.settings):
            log.warning("kafka.input_topic_missing", topic=topic)
        its = settings.tracing
        async with (
            open_tracing(its.endpoint, settings.deployment, its.share),
            open_worker(configuration, duties) as worker,
        ):
            opened.set()  # from here on the worker itself looks at *stop*
            await worker.run(stop, began)

    await done_before(stop, work(), unless=opened)


async def _sleep_until(stop: asyncio.Event, seconds: float) -> None:
    await done_before(stop, asyncio.sleep(seconds))


def _will_pass(error: BaseException) -> bool:
    return all(isinstance(leaf, TransientError) for leaf in leaves(error))


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    first = leaves(error)[0] if error else None
    log.warning("worker.start_waits", error=str(first), tries=state.attempt_number)
