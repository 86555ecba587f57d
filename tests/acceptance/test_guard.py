"""The abuse guard and budgets beside a running worker, with an operator at the command line."""

import json

from tests.acceptance.test_people import audit
from tests.conftest import REAL_SERVERS
from tests.world import open_world
from worker.demo.configuring import OPEN, UNCAPPED

pytestmark = REAL_SERVERS

GUARD = {"mode": "enforce", "numbers": [], "neighbours": [{"most": 3, "per": "1h"}]}
PHONE = "+3367100000{}".format


async def test_a_wave_of_codes_to_neighbours_is_stopped_seen_and_allowed(servers, tmp_path) -> None:
    policy = {"hours": OPEN, "caps": UNCAPPED, "guard": GUARD}
    async with open_world(tmp_path, **servers, policy=policy) as world:
        async with world.process():
            for n in range(6):
                await world.publish("otp.requested", {"phone": PHONE(n)})
            first = await world.outcomes(6)
            listed = await world.command("guard", "ls")
            wrong = await world.command("guard", "allow", "--for", "soon", "--country", "fr", expect=2)
            done = await world.command("guard", "allow", "--phone", "-", "--for", "1h", said=PHONE(5))
            after = json.loads((await world.command("guard", "ls", "--json")).stdout)
            await world.publish("otp.requested", {"phone": PHONE(5)})
            await world.publish("otp.verified", {"phone": PHONE(5)})
            outcomes = await world.outcomes(7)
            told = await world.metrics()
            (written,) = await audit(world, "guard.allow")

    ended = sorted((o["outcome"], o.get("reason"), o.get("check")) for its in first.values() for o in its)
    assert ended == [("accepted", None, None)] * 3 + [("suppressed", "guard_neighbours", "guard")] * 3
    assert "block:" in listed.stdout
    assert "guard_neighbours" in listed.stdout
    assert "+33" not in listed.stdout
    assert "write 30m, 24h or 7d" in wrong.stderr
    assert "and was blocked" in done.stderr
    assert {one["reason"] for one in after} == {"allowed"}
    assert sum(o["outcome"] == "accepted" for its in outcomes.values() for o in its) == 4
    assert 'sms_guard_findings_total{mode="enforce",rule="neighbours"} 3.0' in told
    assert written["seconds"] == 3600
    assert "+33" not in json.dumps(written)


async def test_marketing_holds_at_its_budget_and_codes_go_on(servers, tmp_path) -> None:
    policy = {"hours": OPEN, "caps": UNCAPPED, "budgets": {"marketing": {"per_day": 0.2}}}
    stage = {"policy": policy, "accounts": {"price_per_segment": 0.05}}
    async with open_world(tmp_path, **servers, **stage) as world:
        await world.people(8)
        async with world.process():
            await world.publish("promotion.announced", recipients=[{"contact_id": f"c-{n}"} for n in range(8)])
            await world.outcomes(4)
            await world.publish("otp.requested", {"phone": PHONE(1)})
            outcomes = await world.outcomes(5)
            stuck = await world.command("why-stuck", "--url", f"http://127.0.0.1:{world.port()}")
            (offer,) = await world.read("marketing.events", lambda found: len(found) > 0)
            place = ("--topic", offer.topic, "--partition", str(offer.partition), "--offset", str(offer.offset))
            explained = json.loads((await world.command("explain", *place, "--json")).stdout)
            told = await world.read("sms.outcomes", lambda found: len(found) > 6, 12)
            metrics = await world.metrics()
        log = world.log.read_text()

    accepted = [o["category"] for its in outcomes.values() for o in its if o["outcome"] == "accepted"]
    assert sorted(accepted) == ["marketing"] * 4 + ["transactional"]
    assert len(told) == 5  # four offers wait for tomorrow, or for more money
    assert "budget" in stuck.stdout
    (waits, *_) = [one for one in explained["messages"] if not one["came_of_it"]]
    (budget,) = [step for step in waits["steps"] if step["check"] == "budget"]
    assert (budget["found"], budget["answer"]) == ("100% of the day is spent", "holds until there is more")
    assert "policy.yaml:" in budget["source"]
    assert 'sms_budget_share{account="octopush-marketing",period="day"} ' in metrics
    assert "budget.spent" in log
