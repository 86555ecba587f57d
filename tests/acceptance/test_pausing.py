"""Operators pause and resume lanes, accounts and routes: through Kafka, by a file, across restarts, and it is audited."""

import asyncio
import json

from tests.conftest import REAL_SERVERS
from tests.world import World, open_world

pytestmark = REAL_SERVERS
PHONE = "+3367100000{}".format


async def heard(world: World, told: str) -> None:
    """Wait until the worker's log says so."""
    for _ in range(200):
        if told in world.log.read_text():
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{told} was never said: {world.log.read_text()[-2000:]}")


async def accepted(world: World, wait_s: float = 3.0) -> list[str]:
    """The types of the events whose message was accepted by now."""
    told = [json.loads(one.value)["data"] for one in await world.read("sms.outcomes", lambda _: False, wait_s)]
    return sorted(one["event"]["type"] for one in told if one["outcome"] == "accepted")


async def test_a_paused_lane_waits_across_a_restart_and_goes_on_when_it_resumes(servers, tmp_path) -> None:
    async with open_world(tmp_path, **servers) as world:
        await world.people(3)
        async with world.process():
            await world.command("pause", "--lane", "marketing", "--reason", "wrong prices")
            await heard(world, "operator.paused")
            await world.publish("promotion.announced", recipients=[{"contact_id": "c-0"}, {"contact_id": "c-1"}])
            await world.publish("otp.requested", {"phone": PHONE(2)})
            before = await accepted(world)
            stuck = await world.command("why-stuck", "--url", f"http://127.0.0.1:{world.port()}")
            told = await world.metrics()
        async with world.process():
            restarted = await accepted(world)
            await world.command("resume", "--lane", "marketing")
            await world.outcomes(3)
            after = await accepted(world)
            quiet = await world.metrics()
        actions = [json.loads(one.value) for one in await world.read("sms.audit", lambda found: len(found) >= 2)]

    assert before == restarted == ["otp.requested"]
    assert after == ["otp.requested", "promotion.announced", "promotion.announced"]
    assert "an operator, who paused lane:marketing" in stuck.stdout
    assert 'sms_paused{scope="lane:marketing"} 1.0' in told
    assert "sms_paused{" not in quiet
    assert [(one["action"], one["scope"], one["reason"]) for one in actions] == [
        ("pause", "lane:marketing", "wrong prices"), ("resume", "lane:marketing", ""),
    ]  # fmt: skip


async def test_a_paused_route_lets_others_of_its_lane_pass_and_an_account_holds_all_of_its_lanes(
    servers, tmp_path
) -> None:
    async with open_world(tmp_path, **servers) as world:
        await world.people(2)
        async with world.process():
            await world.command("pause", "--route", "order-shipped", "--reason", "broken links")
            await heard(world, "operator.paused")
            await world.publish("order.shipped", {"contact_id": "c-0"})
            await world.publish("order.delivered", {"contact_id": "c-0"})
            passed = await accepted(world)
            await world.command("resume", "--route", "order-shipped")
            outcomes = await world.outcomes(2)
            await world.command("pause", "--account", "octopush-transactional", "--reason", "contract ends")
            await heard(world, "account:octopush-transactional")
            await world.publish("otp.requested", {"phone": PHONE(1)})
            held = await accepted(world)
            await world.command("resume", "--account", "octopush-transactional")
            await world.outcomes(3)
        unknown = await world.command("pause", "--route", "order-shiped", "--reason", "x", expect=3)
        nothing = await world.command("pause", "--reason", "x", expect=2)

    (shipped,) = [its for its in outcomes.values() if its[0]["event"]["type"] == "order.shipped"]
    assert passed == ["order.delivered"]
    assert [(one["outcome"], one.get("reason")) for one in shipped] == [("deferred", "paused"), ("accepted", None)]
    assert held == ["order.delivered", "order.shipped"]
    assert "did you mean 'order-shipped'?" in unknown.stderr
    assert "say what: --lane, --account or --route" in " ".join(nothing.stderr.split())


async def test_a_file_pauses_too_for_when_kafka_is_down(servers, tmp_path) -> None:
    async with open_world(tmp_path, **servers) as world:
        async with world.process():
            await world.command("pause", "--lane", "urgent", "--reason", "fraud wave", "--file")
            await heard(world, "operator.paused")
            await world.publish("otp.requested", {"phone": PHONE(1)})
            before = await accepted(world)
            text = (tmp_path / "paused").read_text()
            stays = await world.command("resume", "--lane", "urgent", expect=1)
            why = (await world.command("why-stuck", "--url", f"http://127.0.0.1:{world.port()}")).stdout
            await world.command("resume", "--lane", "urgent", "--file")
            await world.outcomes(1)
            audited = await world.read("sms.audit", lambda found: len(found) >= 3)
        log = world.log.read_text()

    said = [told for record in audited if (told := json.loads(record.value))["by"] == "file"]
    assert [(one["action"], one["scope"], one["reason"], one["by"]) for one in said] == [
        ("pause", "lane:urgent", "fraud wave", "file"),
        ("resume", "lane:urgent", "", "file"),
    ]
    assert before == []
    assert "resume with --file" in stays.stderr
    assert "an operator, who paused lane:urgent" in why
    assert text == "lane:urgent  # fraud wave\n"
    assert "operator.resumed" in log
    assert '"source":"file"' in log


async def test_what_waited_for_its_rate_when_its_route_was_paused_goes_with_the_text_that_was_mended(
    servers, tmp_path
) -> None:
    async with open_world(tmp_path, **servers, rates={"transactional": 500.0, "marketing": 0.5}) as world:
        await world.people(6)
        async with world.process():
            await world.publish("promotion.announced", recipients=[{"contact_id": f"c-{n}"} for n in range(6)])
            await world.outcomes(1)
            await world.command("pause", "--route", "promotion-loyal", "--reason", "wrong prices")
            await heard(world, "operator.paused")
            await asyncio.sleep(1)
            before = len(world.provider.sent)
            await asyncio.sleep(6)
            held = len(world.provider.sent)
            template = world.config / "templates" / "promotion_loyal.yaml"
            template.write_text(template.read_text().replace("BOUTIQUE", "MENDED"))
            policy = world.config / "policy.yaml"
            policy.write_text(policy.read_text() + "brands: [BOUTIQUE, MENDED]\n")
            await heard(world, "config.adopted")
            await world.command("resume", "--route", "promotion-loyal")
            await world.outcomes(6)
        texts = [one.text for one in world.provider.sent]

    assert 1 <= before == held < 6
    assert all("MENDED" not in text for text in texts[:held])
    assert all("MENDED" in text for text in texts[held:])
    assert len(texts) == 6
