"""Another routing table over what really happened."""

import asyncio
import json
from datetime import UTC, datetime

from tests.acceptance.test_people import audit
from tests.conftest import REAL_SERVERS
from tests.world import open_world

pytestmark = REAL_SERVERS


async def test_a_new_table_shows_who_gains_who_loses_and_what_it_costs_and_sends_nothing(servers, tmp_path) -> None:
    stage = {"accounts": {"price_per_segment": 0.05}}
    async with open_world(tmp_path, **servers, **stage) as world:
        await world.people(4, consents=("offers",))
        await world.publish(
            "contact.updated",
            {"contact_id": "c-9"},
            contact_id="c-9",
            phone="+33671000009",
            attributes={"orders_90d": 3},
        )
        async with world.process():
            for n in range(3):
                await world.publish("order.shipped", {"contact_id": f"c-{n}"})
            await world.publish("order.delivered", {"contact_id": "c-0"})
            await world.publish("promotion.announced", recipients=[{"contact_id": "c-9"}, {"contact_id": "c-3"}])
            await world.outcomes(6)
            await world.publish("order.shipped", {"contact_id": "c-0"}, event_id="e-again")
            await world.publish("order.shipped", {"contact_id": "c-0"}, event_id="e-again")
            await world.outcomes(7)
            sent = len(world.provider.sent)
            end = datetime.now(UTC)
            await asyncio.sleep(0.1)  # records know milliseconds only
            await world.publish("order.shipped", {"contact_id": "c-1"})
            await world.outcomes(8)
            # The new table: nothing for deliveries, a second text for shipments of others than c-0's segment.
            routes = tmp_path / "new.yaml"
            table = (world.config / "routes.yaml").read_text()
            lines = "- {id: shipped-too, event: order.shipped, template: order_shipped}\n"
            kept = table.replace("event: order.delivered,", "event: order.delivered, when: data.order_id == 'nobody',")
            routes.write_text(kept.rstrip() + "\n" + lines)
            told = await world.command(
                "backtest", "--from", "1h", "--to", end.isoformat(), "--routes", str(routes), "--json"
            )
            shown = await world.command("backtest", "--from", "1h", "--routes", str(routes))
            routes.write_text(kept.replace("template: order_shipped", "template: order_shiped", 1))
            wrong = await world.command("backtest", "--from", "1h", "--routes", str(routes), expect=3)
            nothing = await world.command("backtest", "--from", "1h", expect=2)
            (written, *_) = await audit(world, "backtest")
        found = json.loads(told.stdout)

    assert found["events"] == 6  # two were one, and one came later
    assert found["gained"] == {"shipped-too": 4}
    assert found["lost"] == [{"route": "order-delivered", "reason": "not routed", "count": 1}]
    assert (found["people_who_gain"], found["people_who_lose"]) == (3, 1)
    shipped = found["routes"]["shipped-too"]
    assert (shipped["before"], shipped["after"]) == (0, 4)
    assert round(shipped["cost_after"], 2) == round(0.05 * (4), 2)
    assert {(one["reason"], one["before"], one["after"]) for one in found["not_sent"]} == {("no_consent", 1, 1)}
    assert len(world.provider.sent) == sent + 1
    assert "+5  shipped-too" in shown.stdout
    assert "nothing was sent" in shown.stderr
    assert str(routes) in wrong.stderr
    assert "did you mean 'order_shipped'" in wrong.stderr
    assert "give what would be new" in nothing.stderr
    assert written["other"] != written["configuration"]
