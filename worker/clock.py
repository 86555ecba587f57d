"""Time is handed in: a wall clock for what people mean, a monotonic one for durations."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol

# Goes on while a host is suspended, unlike CLOCK_MONOTONIC: a claim's start window must not outlive its lease.
SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """Tells the time and waits."""

    def now(self) -> datetime:
        """Return the wall clock's time, in UTC."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""

    async def sleep(self, seconds: float) -> None:
        """Wait *seconds*."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the wall clock's time, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds since the host's start, those that it was suspended included."""
        return time.clock_gettime(SINCE_BOOT)

    async def sleep(self, seconds: float) -> None:
        """Wait *seconds*."""
        await asyncio.sleep(seconds)
