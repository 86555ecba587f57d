"""No unit of work keeps the event loop for long: a code must not wait until a batch of offers is decided."""

import asyncio
import time

MOST_S = 0.003


class Slice:
    """Counts how long a task has kept the loop."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    async def breathe(self) -> None:
        """Let others go on, if this task has kept the loop for three milliseconds."""
        if time.perf_counter() - self._since > MOST_S:
            await asyncio.sleep(0)
            self._since = time.perf_counter()
