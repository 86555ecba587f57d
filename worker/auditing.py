"""What operators did, on `sms.audit`: who, when, what and why, and nobody's number."""

import asyncio
import getpass
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Protocol

import orjson

from worker import __version__
from worker.errors import BrokerUnavailable
from worker.records import Outgoing
from worker.topics import Topics

LAST_WORD_S, PATIENCE_S = 5.0, 60.0


def operator() -> str:
    """Return who runs this command."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):
        return "unknown"


def audit_record(topics: Topics, action: str, **told: Any) -> Outgoing:
    """Return the record that says an operator did *action*."""
    said = {"action": action, "at": datetime.now(UTC), "by": operator(), "worker_version": __version__, **told}
    return Outgoing(topics.audit, None, orjson.dumps(said, option=orjson.OPT_UTC_Z))


class Writer(Protocol):
    """Writes records."""

    async def publish(self, outgoing: Outgoing) -> None:
        """Write a record; return when the broker has it."""


@asynccontextmanager
async def auditing_the_end(
    topics: Topics, writer: Writer, action: str, told: Callable[[], Mapping[str, Any]]
) -> AsyncIterator[None]:
    """
    Say what came of *action* when the block ends, and how it ended.

    Raises:
        BrokerUnavailable: It was done, and Kafka does not take that it was.
    """
    try:
        yield
    except BaseException as error:
        with suppress(TimeoutError, BrokerUnavailable):
            async with asyncio.timeout(LAST_WORD_S):
                await writer.publish(audit_record(topics, action, ended=type(error).__name__, **told()))
        raise
    try:
        async with asyncio.timeout(PATIENCE_S):
            await writer.publish(audit_record(topics, action, ended="done", **told()))
    except TimeoutError as error:
        raise BrokerUnavailable(f"{action} was done, but Kafka does not take its audit record") from error
