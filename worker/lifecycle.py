"""How a process ends: a signal sets an event, and the loops decide; a second signal does not wait."""

import asyncio
import os
import signal
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import structlog

log = structlog.get_logger(__name__)
SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_on_signals() -> Iterator[asyncio.Event]:
    """Give an event that SIGTERM or Ctrl-C sets; the second one ends the process at once, with exit code 130."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()

    def on_signal(number: int) -> None:
        if stop.is_set():
            os._exit(130)
        log.info("worker.stopping", signal=signal.Signals(number).name)
        stop.set()

    for number in SIGNALS:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield stop
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


async def done_before(
    stop: asyncio.Event, work: Coroutine[Any, Any, None], *, unless: asyncio.Event | None = None
) -> bool:
    """
    Await *work*, and cancel it if *stop* comes first; return whether it was done.

    Args:
        stop: Ends it.
        work: What is awaited; what it raises is raised here.
        unless: Once this is set, *stop* cancels nothing any more.
    """
    task = asyncio.ensure_future(work)
    others = [asyncio.ensure_future(event.wait()) for event in (stop, unless) if event is not None]
    try:
        await asyncio.wait({task, *others}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done() and unless is not None and unless.is_set():
            await task
            return True
        if task.done():
            task.result()
            return True
        return False
    finally:
        for other in (*others, task):
            other.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.wait({task})
