"""What a provider answers over real HTTP that must not be believed or followed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from pydantic import SecretStr

from tests.builders import account
from worker.delivery.ledger import Answer
from worker.delivery.verdicts import ProviderReason, Sms
from worker.providers.octopush import open_octopush

SMS = Sms("+33612345678", "Bonjour", "BOUTIQUE", marketing=False)


@asynccontextmanager
async def server(handle) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("nowhere", [True, False])
async def test_a_redirect_is_not_followed_and_proves_nothing(status: int, nowhere: bool) -> None:
    """Login, key, number and text would go to another host; and whoever answered may have taken it."""
    reached: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        reached.append(str(request.headers.get("api-key")))
        return web.json_response({"sms_ticket": "t"})

    async with server(elsewhere) as other:
        target = "http://127.0.0.1:1/" if nowhere else other

        async def redirecting(_: web.Request) -> web.Response:
            return web.Response(status=status, headers={"Location": target})

        async with server(redirecting) as url:
            its = account(base_url=url)
            async with open_octopush(its, ("login", SecretStr("key"))) as provider:
                submitted = await provider.send(SMS, "m-1")

    assert reached == []
    assert (submitted.answer, submitted.reason) == (Answer.AMBIGUOUS, ProviderReason.REDIRECTED)
    assert submitted.hold_s


async def test_what_no_header_carries_holds_the_account_and_is_no_fault_of_the_message() -> None:
    async with open_octopush(account(), ("login", SecretStr("key\nkey"))) as provider:
        submitted = await provider.send(SMS, "m-1")

    assert (submitted.answer, submitted.reason) == (Answer.OUR_FAULT, ProviderReason.BAD_CREDENTIALS)
    assert submitted.dead_letter is None
    assert submitted.hold_s
