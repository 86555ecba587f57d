"""A TCP proxy that misbehaves on demand: latency, reset, half-open, black hole, slow drip."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

MODES = ("fine", "latency", "reset", "half-open", "black hole", "drip")


class Proxy:
    """
    Passes bytes on, or does not.

    Attributes:
        mode: One of MODES. `half-open` takes connections and says nothing; `black hole` swallows what is sent on those there are.
    """

    def __init__(self, port: int) -> None:
        self.mode, self._target, self.port = "fine", port, 0
        self._pipes: set[asyncio.Task[None]] = set()

    def turn(self, mode: str) -> None:
        """Change the mode; `reset` also cuts the connections there are."""
        assert mode in MODES
        self.mode = mode
        if mode == "reset":
            for pipe in list(self._pipes):
                pipe.cancel()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == "reset":
            writer.transport.abort()
            return
        while self.mode == "half-open":
            await asyncio.sleep(0.1)
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        pipes = {
            asyncio.create_task(self._pipe(reader, upstream_writer)),
            asyncio.create_task(self._pipe(upstream_reader, writer)),
        }
        self._pipes |= pipes
        try:
            await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pipe in pipes:
                pipe.cancel()
            self._pipes -= pipes
            writer.transport.abort()
            upstream_writer.transport.abort()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if self.mode == "latency":
                    await asyncio.sleep(1)
                while self.mode in ("black hole", "half-open"):
                    await asyncio.sleep(0.1)
                if self.mode == "drip":
                    for start in range(0, len(data), 512):
                        writer.write(data[start : start + 512])
                        await asyncio.sleep(0.02)
                else:
                    writer.write(data)
                await writer.drain()


@asynccontextmanager
async def open_proxy(target: int, port: int = 0) -> AsyncIterator[Proxy]:
    """Listen in front of *target* until the block ends."""
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", port)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.turn("reset")
