"""
The worker, killed by its own hand (SIGKILL) the first time it comes to a certain point.

    python -m tests.chaos.killed POINT run --config ...
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from worker.kafka.commits import Commits
from worker.cli import main
from worker.delivery.attempts import Attempts
from worker.delivery.asks import Claimed
from worker.kafka.sink import Sink
from worker.kafka.source import Source
from worker.providers.octopush import Octopush
from worker.state.fence import FenceStore
from worker.state.settling import BatchedSettler


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner: type, name: str, when: Callable[..., bool] = lambda *_: True) -> None:
    real = getattr(owner, name)

    async def patched(self: Any, *arguments: Any, **named: Any) -> Any:
        if when(self, *arguments):
            die()
        return await real(self, *arguments, **named)

    setattr(owner, name, patched)


def after(owner: type, name: str, when: Callable[[Any, tuple], bool] = lambda *_: True) -> None:
    real = getattr(owner, name)

    async def patched(self: Any, *arguments: Any, **named: Any) -> Any:
        result = await real(self, *arguments, **named)
        if when(result, arguments):
            die()
        return result

    setattr(owner, name, patched)


def during(owner: type, name: str, seconds: float, when: Callable[..., bool] = lambda *_: True) -> None:
    real = getattr(owner, name)

    async def patched(self: Any, *arguments: Any, **named: Any) -> Any:
        if when(self, *arguments):
            asyncio.get_running_loop().call_later(seconds, die)
        return await real(self, *arguments, **named)

    setattr(owner, name, patched)


def of_sender(self: Source, *_: object) -> bool:
    return self.name.startswith("sender-") and any(each.committed for each in self.assignments())


POINTS: dict[str, Callable[[], None]] = {
    "before the claim": lambda: before(FenceStore, "pass_through"),
    "after the claim": lambda: after(
        FenceStore, "pass_through", lambda replies, _: any(isinstance(one, Claimed) for one in replies)
    ),
    "during the request": lambda: during(Octopush, "send", 0.05),
    "after the answer": lambda: after(Attempts, "submit"),
    "after the ledger": lambda: after(BatchedSettler, "settle"),
    "after the outcome": lambda: after(Sink, "publish", lambda _, arguments: arguments[0].topic == "sms.outcomes"),
    "during the commit": lambda: during(Commits, "_commit", 0.0005, lambda self, *_: self._name.startswith("sender-")),
    "inside the revoke": lambda: before(Source, "revoked", of_sender),
}

if __name__ == "__main__":
    POINTS[sys.argv[1]]()
    sys.argv = ["sms-worker", *sys.argv[2:]]
    main()
