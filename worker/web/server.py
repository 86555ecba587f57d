"""`/metrics`, `/healthz`, `/readyz`, `/why-stuck`."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from worker.errors import ConfigurationError, Problem
from worker.settings import WebSettings

Readiness = Callable[[], Mapping[str, bool]]
Details = Callable[[], Mapping[str, Any]]
WhyStuck = Callable[[], list[dict[str, Any]]]


def _application(
    ready: Readiness, before_scrape: Callable[[], None], why: WhyStuck, details: Details
) -> web.Application:
    async def metrics(request: web.Request) -> web.Response:
        before_scrape()
        write, content_type = choose_encoder(request.headers.get("Accept", ""))  # OpenMetrics has exemplars
        return web.Response(body=write(REGISTRY), headers={"Content-Type": content_type})

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def readyz(_: web.Request) -> web.Response:
        parts = dict(ready())
        return web.json_response(
            {"ready": all(parts.values()), "parts": parts, **details()}, status=200 if all(parts.values()) else 503
        )

    async def why_stuck(_: web.Request) -> web.Response:
        return web.json_response(why())

    application = web.Application()
    pages = {"/metrics": metrics, "/healthz": healthz, "/readyz": readyz, "/why-stuck": why_stuck}
    application.add_routes([web.get(path, page) for path, page in pages.items()])
    return application


@asynccontextmanager
async def open_web(
    settings: WebSettings, ready: Readiness, before_scrape: Callable[[], None], why: WhyStuck, details: Details
) -> AsyncIterator[int]:
    """
    Listen until the block ends; gives the port, which is a free one for port 0.

    Raises:
        ConfigurationError: Somebody else listens there.
    """
    runner = web.AppRunner(_application(ready, before_scrape, why, details), access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port)
        try:
            await site.start()
        except OSError as error:
            message = f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; 0 takes a free port"
            raise ConfigurationError([Problem("worker.yaml", None, "web.port", message)]) from None
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
