"""The pages for operators and support: in a browser, behind a token, and never more than a look."""

import json
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests import browser
from tests.acceptance.test_people import audit
from tests.browser import open_page, overflows
from tests.conftest import REAL_SERVERS, require
from tests.world import World, _environment, open_world
from worker.admin.server import open_admin_pages
from worker.demo.configuring import CREDENTIALS
from worker.tools import open_tools

pytestmark = [REAL_SERVERS, pytest.mark.browser]
PHONE, TOKEN = "+33671000000", "a token of many letters"
EVIL = "<script>window.pwned = true</script>"


@pytest.fixture(autouse=True)
def chromium() -> None:
    require(browser.missing())


@asynccontextmanager
async def pages(world: World, token: str | None = None):
    with _environment(CREDENTIALS):
        async with open_tools(world.config) as tools, open_admin_pages(tools, "127.0.0.1", 0, token) as port:
            yield f"http://127.0.0.1:{port}"


async def letters(world: World) -> None:
    """One person who got a text, an event that is wrong, and an offer that somebody wrote into a delivery note."""
    await world.people(1)
    async with world.process():
        await world.publish("order.shipped", {"contact_id": "c-0"})
        await world.publish("order.shipped", {"contact_id": "c-0"}, order_id="")
        await world.publish("order.delivered", {"contact_id": "c-0"}, place=f"-20 % AVEC LE CODE NOEL {EVIL[:8]}")
        await world.send("orders.events", b"not json", [("ce_type", b"order.shipped"), ("ce_id", EVIL.encode()), ("ce_source", b"/x"),
                         ("ce_specversion", b"1.0"), ("content-type", b"application/json")])  # fmt: skip
        await world.read("sms.transactional.dlq", lambda found: len(found) > 0)
        await world.read("sms.router.dlq", lambda found: len(found) > 1)


@pytest.mark.parametrize("width", [1280, 390])
async def test_letters_are_understood_a_replay_is_foreseen_and_a_message_found(servers, tmp_path, width) -> None:
    async with open_world(tmp_path, **servers) as world:
        await letters(world)
        async with pages(world) as url, open_page(width) as page:
            await page.goto(url)
            first, sideways = await page.inner_text("body"), [await overflows(page)]
            await page.screenshot(path=tmp_path / "letters.png", full_page=True)
            await page.get_by_role("link", name="advertising").first.click()
            one = await page.inner_text("body")
            sideways.append(await overflows(page))
            await page.goto(f"{url}/replay?stage=transactional")
            foreseen = await page.inner_text("body")
            sideways.append(await overflows(page))
            await page.goto(f"{url}/find")
            await page.fill("input[name=phone]", "06 71 00 00 00")
            await page.click("button")
            found, there = await page.inner_text("body"), page.url
            sideways.append(await overflows(page))
            pwned = await page.evaluate("window.pwned")
        after = await world.read("sms.transactional.dlq", lambda found: len(found) > 1, 2)
        looked = await audit(world, "find")

    assert "3 by what they are" in first
    assert "bad_data" in first
    assert "What would a replay of these do?" in first
    assert "advertising in transactional" in one
    assert "would fail again: advertising" in one
    assert "1 letters = 1 " in foreseen
    assert "handed to the operator" in found
    assert "remis à l'opérateur" in found
    assert there.endswith("/find")
    assert "+33" not in one + foreseen + first
    assert "71 00 00 00" not in found
    assert pwned is None
    assert sideways == [False] * 4
    assert len(after) == 1  # nothing was put back
    assert "+336" not in json.dumps(looked)


async def test_whoever_has_no_token_sees_nothing_and_another_site_s_form_does_nothing(servers, tmp_path) -> None:
    async with open_world(tmp_path, **servers) as world:
        async with world.process():  # makes its keys
            pass
        async with pages(world, TOKEN) as url, aiohttp.ClientSession() as anyone:
            nobody = await anyone.get(f"{url}/find", allow_redirects=False)
            guessed = await anyone.get(url, headers={"Authorization": "Bearer wrong"})
            program = await anyone.get(url, headers={"Authorization": f"Bearer {TOKEN}"})
            wrong = await anyone.post(f"{url}/login", data={"token": "wrong"})
            foreign = await anyone.post(f"{url}/find", data={"phone": PHONE}, headers={
                "Authorization": f"Bearer {TOKEN}", "Origin": "https://elsewhere.example"})  # fmt: skip
            async with open_page() as page:
                await page.goto(url)
                asked = page.url
                await page.fill("input[name=token]", TOKEN)
                await page.click("button")
                inside = await page.inner_text("body")
                cookies = await page.context.cookies()
        async with pages(world) as url, aiohttp.ClientSession() as anyone:
            rebound = await anyone.get(url, headers={"Host": "evil.example"}, allow_redirects=False)
            here = await anyone.get(url)
        open_to_all = await world.command("admin", "--host", "0.0.0.0", expect=2)
        (tmp_path / "token").write_text("short")
        short = await world.command("admin", "--token-file", str(tmp_path / "token"), expect=2)

    assert (nobody.status, nobody.headers["Location"]) == (303, "/login")
    assert [one.status for one in (guessed, program, wrong, foreign)] == [401, 200, 401, 403]
    assert asked.endswith("/login")
    assert "None: everything could be handled." in inside
    assert cookies[0]["httpOnly"]
    assert cookies[0]["sameSite"] == "Strict"
    assert TOKEN not in cookies[0]["value"]
    assert rebound.status == 303
    assert here.status == 200
    for one in (nobody, program, foreign, here):
        assert "default-src 'none'" in one.headers["Content-Security-Policy"]
        assert one.headers["Cache-Control"] == "no-store"
    assert "give --token-file" in " ".join(open_to_all.stderr.replace("│", " ").split())
    assert "5 characters" in " ".join(short.stderr.replace("│", " ").split())


async def test_what_is_not_there_or_not_understood_is_said_on_the_page(servers, tmp_path) -> None:
    async with open_world(tmp_path, **servers) as world:
        async with world.process():  # makes its keys
            pass
        async with pages(world) as url, aiohttp.ClientSession() as session:
            bad = [await session.get(f"{url}{path}") for path in ("/letters/orders.events/0/0", "/?since=soon")]
            gone = await session.get(f"{url}/letters/sms.router.dlq/0/999")
            both = await session.post(f"{url}/find", data={"order": "1", "event": "2"})
            texts = [await one.text() for one in (gone, both)]

    assert [one.status for one in bad] == [404, 400]
    assert gone.status == 404
    assert "nothing is there" in texts[0]
    assert "only one" in texts[1]
