"""`explain` on what is on Kafka: the same answer as the worker gave, with the source of each check, and as of a past time."""

import json

from tests.acceptance.test_people import PHONE, audit
from tests.conftest import REAL_SERVERS
from tests.world import open_world

pytestmark = REAL_SERVERS


def told(answer) -> dict:
    (message,) = json.loads(answer.stdout)["messages"]
    return {**message, "by": {step["check"]: step for step in message["steps"]}}


async def test_what_the_worker_did_is_explained_from_the_record_and_from_the_message(servers, tmp_path) -> None:
    async with open_world(tmp_path, **servers) as world:
        await world.people(2)
        async with world.process():
            await world.publish("promotion.announced", recipients=[{"contact_id": "c-0"}])
            first = await world.outcomes(1)
            await world.publish("consent.revoked", {"contact_id": "c-0"})
            await world.publish("cart.abandoned", {"contact_id": "c-1"}, cart_id="waits")
            await world.publish("order.shipped", {"contact_id": "c-0"})
            outcomes = await world.outcomes(3)
            (sent,) = first
            origin = first[sent][-1]["origin"]
            events = await world.read("marketing.events", lambda found: len(found) >= 2)
            place = next(one for one in events if b"promotion" in dict(one.headers)["ce_type"])

            by_place = told(await world.command(
                "explain", "--topic", place.topic, "--partition", str(place.partition), "--offset", str(place.offset), "--json"
            ))  # fmt: skip
            by_lane = told(await world.command(
                "explain", "--topic", origin["topic"], "--partition", str(origin["partition"]), "--offset",
                str(origin["offset"]), "--json",
            ))  # fmt: skip
            by_id = told(await world.command("explain", "--message-id", sent, "--json"))
            before = told(await world.command(
                "explain", "--message-id", sent, "--json", "--at", first[sent][-1]["submitted_at"]
            ))  # fmt: skip
            shipped = next(its for its in outcomes.values() if its[-1]["event"]["type"] == "order.shipped")
            transactional = await world.command("explain", "--message-id", shipped[-1]["message_id"])
            nowhere = await world.command("explain", "--message-id", "11111111-1111-5111-8111-111111111111", expect=3)
            gone = await world.command(
                "explain", "--topic", place.topic, "--partition", "0", "--offset", "999999", expect=3
            )
            unread = await world.command("explain", "--topic", "nobodys", "--partition", "0", "--offset", "0", expect=3)
            both = await world.command("explain", "x.json", "--message-id", sent, expect=2)
            written = await audit(world, "explain")

    # Today the person has withdrawn, and the text has gone already: all three ways say so.
    for one in (by_place, by_lane, by_id):
        assert one["message_id"] == sent
        assert (one["outcome"], one["reason"]) == ("suppressed", "consent_revoked")
        assert one["came_of_it"]["outcome"] == "accepted"
        assert one["by"]["consent"]["answer"] == "no: consent_revoked"
        assert one["by"]["consent"]["source"].startswith("customers.events/")
        assert one["by"]["text"]["source"].split("/")[-1].startswith("promotion")
        assert not any(step["today"] for step in one["steps"])
        assert "https://boutique.example/o/7Q1Z" in one["text"]
    # Then, it was allowed, by the record that the outcome names.
    consent = sent and first[sent][-1]["consent"]
    assert (before["outcome"], before["reason"]) == ("would be sent", None)
    assert before["by"]["consent"]["source"] == f"{consent['topic']}/{consent['partition']}/{consent['offset']}"
    assert not before["by"]["consent"]["today"]
    assert before["by"]["contact"]["today"]
    assert before["by"]["caps"]["today"]
    assert "order_shipped" in transactional.stdout
    assert "would be sent" in transactional.stdout
    assert PHONE(0) not in json.dumps(by_id)
    assert "nothing is known of" in nowhere.stderr
    assert "is not there, or no longer" in gone.stderr
    assert "is not there" in unread.stderr
    assert "give a file; or" in both.stderr
    assert len(written) == 8
