"""Child processes that never outlive whoever opened them."""

import asyncio
import ctypes
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO

PR_SET_PDEATHSIG = 1  # prctl(2): the kernel kills the child when its parent dies


@asynccontextmanager
async def open_process(
    arguments: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    output: IO[bytes] | int = asyncio.subprocess.DEVNULL,
    patience_s: float = 25.0,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """
    Run a process until the block ends: SIGTERM, then SIGKILL after *patience_s*.

    It has a group of its own, so Ctrl-C reaches only whoever opened it.
    """
    process = await asyncio.create_subprocess_exec(
        *map(str, arguments),
        env={**os.environ, **(environment or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        preexec_fn=_tie_to_parent,
    )
    try:
        yield process
    finally:
        await _end(process, patience_s)


async def _end(process: asyncio.subprocess.Process, patience_s: float) -> None:
    with suppress(ProcessLookupError, TimeoutError):
        process.terminate()
        async with asyncio.timeout(patience_s):
            await process.wait()
    with suppress(ProcessLookupError):
        process.kill()
    await process.wait()


def _tie_to_parent() -> None:
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
