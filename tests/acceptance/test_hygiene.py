"""Hygiene over the contact base with the provider's real protocol, and refusals while sending."""

import json

from tests.acceptance.test_people import audit
from tests.conftest import REAL_SERVERS
from tests.world import open_world

pytestmark = REAL_SERVERS

GOOD, DEAD, AWAY = "+33671000001", "+33600000181", "+33600009007"


async def test_the_contact_base_is_cleaned_at_a_price_that_is_said_first(servers, tmp_path) -> None:
    stage = {"accounts": {"hlr_price": 0.01}}
    async with open_world(tmp_path, **servers, **stage) as world:
        for name, phone in (("good", GOOD), ("dead", DEAD), ("away", AWAY)):
            await world.publish("contact.updated", {"contact_id": name}, contact_id=name, phone=phone)
        async with world.process():
            await world.publish("order.shipped", {"contact_id": "good"})
            await world.outcomes(1)
            asked = await world.command("numbers", "clean")
            done = await world.command("numbers", "clean", "--yes")
            again = await world.command("numbers", "clean", "--yes")
            for name in ("good", "dead", "away"):
                await world.publish("order.delivered", {"contact_id": name})
            outcomes = await world.outcomes(4)
            revived = await world.command("numbers", "revive", "--phone", "-", said=DEAD)
            await world.command("numbers", "revive", "--phone", "-", said=DEAD, expect=1)
            (first,) = await audit(world, "numbers.clean")  # there was nothing to do the second time

    assert "3 numbers to look up at octopush-transactional; cost: 0.03; --yes does it" in asked.stderr
    assert "3 looked up: 1 live, 1 dead, 1 undecided" in done.stderr
    assert "0 numbers to look up" in again.stderr
    ended = sorted((one["outcome"], one.get("reason", "")) for its in outcomes.values() for one in its)
    assert ended == [("accepted", "")] * 3 + [("suppressed", "dead_number")]
    assert "is texted again" in revived.stderr
    assert (first["numbers"], first["dead"]) == (3, 1)
    assert "+33" not in json.dumps(first) + asked.stderr + done.stderr


async def test_the_calendar_knows_jobs_by_itself_and_chores_from_people(servers, tmp_path) -> None:
    async with open_world(tmp_path, **servers) as world:
        async with world.process():
            before = (await world.command("calendar", "ls")).stdout
            await world.command("calendar", "done", "restore", "--note", "in 40 minutes")
            listed = json.loads((await world.command("calendar", "ls", "--json")).stdout)
            (written,) = await audit(world, "calendar.done")
            await world.command("calendar", "done", "prune", expect=2)  # a job says so itself
            await world.command("db", "prune", "--yes")
            after = json.loads((await world.command("calendar", "ls", "--json")).stdout)

    assert before.count("never") == 7
    assert {one["job"] for one in listed if one["done_at"]} == {"restore"}
    assert {one["job"] for one in after if one["done_at"]} == {"restore", "prune"}
    assert (written["chore"], written["note"], written["ended"]) == ("restore", "in 40 minutes", "done")


async def test_a_number_that_is_refused_twice_is_asked_for_no_more(servers, tmp_path) -> None:
    async with open_world(tmp_path, **servers) as world, world.process():
        for count in range(3):
            await world.publish("otp.requested", {"phone": DEAD})
            await world.outcomes(count + 1)
        outcomes = await world.outcomes(3)
        told = await world.metrics()

    ended = sorted((one["outcome"], one.get("reason", "")) for its in outcomes.values() for one in its)
    assert ended == [("rejected", "recipient_refused")] * 2 + [("suppressed", "dead_number")]
    assert 'sms_dead_numbers_total{by="refused"} 1.0' in told
