"""The sandbox's HTTP side: the provider's API under `/v1/public`, its own controls under `/sandbox`, phones at `/`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, fields, replace
from importlib.resources import files
from typing import Any

import orjson
from aiohttp import web

from worker.policy.number import Number, parse_number
from worker.sandbox.provider import MAGIC, OUT_OF_REACH, UNASSIGNED, Behaviour, Reply, SandboxProvider, error

PROVIDER = web.AppKey("provider", SandboxProvider)
HANG_S = 3_600.0


def make_application(provider: SandboxProvider) -> web.Application:
    """Return the web application of *provider*."""
    application = web.Application(client_max_size=1024 * 1024)
    application[PROVIDER] = provider
    application.add_routes(
        [
            web.post("/v1/public/sms-campaign/send", _send),
            web.get("/v1/public/wallet/check-balance", _balance),
            web.post("/v1/public/contact/hlr-request", _hlr),
            web.get("/", _page),
            web.get("/sandbox/summary", _summary),
            web.get("/sandbox/texts", _texts),
            web.get("/sandbox/counts", _counts),
            web.post("/sandbox/behaviour", _behave),
            web.post("/sandbox/stop", _stop),
            web.post("/sandbox/reset", _reset),
        ]
    )
    return application


async def _send(request: web.Request) -> web.StreamResponse:
    provider = request.app[PROVIDER]
    login = _login(request)
    body = await _json(request)
    reply = error(101) if login is None else provider.send(login, body, request.headers.get("traceparent"))
    if provider.behaviour.latency_ms:
        await asyncio.sleep(provider.behaviour.latency_ms / 1000)
    return await _answer(request, reply)


async def _answer(request: web.Request, reply: Reply) -> web.StreamResponse:
    match reply.fault:
        case "hang":
            await asyncio.sleep(HANG_S)
        case "reset":
            if request.transport is not None:
                request.transport.abort()
        case "garbage":
            return web.Response(body=b"<html>upstream hiccup</html>", status=200)
    headers = {"Retry-After": "1"} if reply.status == 429 else {}
    return web.json_response(reply.body, status=reply.status or 500, headers=headers)


def _login(request: web.Request) -> str | None:
    login, key = request.headers.get("api-login"), request.headers.get("api-key")
    return login if login and key and key != "revoked" else None


async def _json(request: web.Request) -> dict[str, Any]:
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


async def _balance(request: web.Request) -> web.StreamResponse:
    if (login := _login(request)) is None:
        return await _answer(request, error(101))
    return web.json_response({"amount": round(request.app[PROVIDER].account(login).credit, 4), "unit": "euros"})


async def _hlr(request: web.Request) -> web.StreamResponse:
    if _login(request) is None:
        return await _answer(request, error(101))
    numbers = (await _json(request)).get("phone_numbers")
    return web.json_response([_looked_up(str(number)) for number in numbers or () if isinstance(numbers, list)])


def _looked_up(written: str) -> dict[str, Any]:
    number, asked = parse_number(written), MAGIC.match(written)
    code = int(asked.group(1)) if asked else 0
    valid = isinstance(number, Number) and code not in UNASSIGNED
    return {
        "phone_number": written,
        "status": "valid" if valid else "invalid",
        "line_status": "dead" if not valid else "absent" if code == OUT_OF_REACH else "live",
        "phone_number_type": "mobile" if valid else "unknown",
        "country_code": number.country if isinstance(number, Number) else None,
        "is_ported": False,
    }


async def _summary(request: web.Request) -> web.Response:
    return web.json_response(request.app[PROVIDER].summary())


async def _texts(request: web.Request) -> web.Response:
    most = int(request.query.get("last", "200"))
    return web.json_response([asdict(sent) for sent in list(request.app[PROVIDER].sent)[-most:]])


async def _counts(request: web.Request) -> web.Response:
    provider = request.app[PROVIDER]
    return web.json_response({"requests": provider.requests, "texts": provider.texts})


async def _behave(request: web.Request) -> web.Response:
    provider, asked = request.app[PROVIDER], await _json(request)
    known = {field.name for field in fields(Behaviour)}
    if unknown := asked.keys() - known:
        raise web.HTTPBadRequest(text=f"no such setting: {min(unknown)}; there are {', '.join(sorted(known))}")
    provider.behaviour = replace(provider.behaviour, **asked)
    return web.json_response(asdict(provider.behaviour))


async def _stop(request: web.Request) -> web.Response:
    asked = await _json(request)
    request.app[PROVIDER].account(str(asked["login"])).blacklist.add(str(asked["number"]))
    return web.json_response({})


async def _reset(request: web.Request) -> web.Response:
    request.app[PROVIDER].reset()
    return web.json_response({})


async def _page(_: web.Request) -> web.Response:
    html = files("worker.sandbox").joinpath("phones.html").read_text()
    return web.Response(text=html, content_type="text/html")


@asynccontextmanager
async def open_sandbox(provider: SandboxProvider, host: str, port: int) -> AsyncIterator[int]:
    """Listen until the block ends; gives the port, which is a free one for port 0."""
    runner = web.AppRunner(make_application(provider), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
