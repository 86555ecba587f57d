"""What operators do beside a running worker: ask why nothing moves, and give a record up."""

import asyncio
import json

import pytest

from tests.conftest import REAL_SERVERS
from tests.world import World, open_world, terminal
from worker.errors import Stuck, leaves
from worker.records import Place
from worker.sandbox.provider import Behaviour
from worker.watchdog import Watchdog


async def until_stuck(world: World, state: set[str]) -> dict[str, object]:
    """Return what why-stuck says of the transactional lane once something waits there."""
    for _ in range(100):
        told = await world.command("why-stuck", "--url", f"http://127.0.0.1:{world.port()}", "--json")
        rows = [
            row for row in json.loads(told.stdout) if row["source"] == "sender-transactional" and row["state"] in state
        ]
        if rows:
            return rows[0]
        await asyncio.sleep(0.1)
    raise AssertionError("nothing waits")


@REAL_SERVERS
async def test_why_stuck_names_the_record_and_skip_makes_it_a_dead_letter(servers, tmp_path) -> None:
    """At one number the provider finds no credit, so that the account rests with it at the head; it waits until it is skipped."""
    async with open_world(tmp_path, **servers) as world, world.process():
        poison = {"phone": "+33600000104"}
        await world.publish("order.shipped", poison)
        row = await until_stuck(world, {"submit", "fence", "settle"})
        assert row["offset"] is not None
        assert row["key"] not in ("", None)
        assert "+336" not in json.dumps(row)

        place = Place(row["topic"], row["partition"], row["offset"])
        told = await world.command(
            "skip", place.topic, str(place.partition), str(place.offset), "--reason", "no credit, ever"
        )
        assert "skipped" in told.stderr
        (letter,) = await world.read("sms.transactional.dlq", lambda found: len(found) >= 1)
        (audit,) = await world.read("sms.audit", lambda found: len(found) >= 1)

        await world.publish("order.shipped", {"phone": "+33671000001"})
        outcomes = await world.outcomes(1, 120)
        await asyncio.sleep(1.5)
        again = await world.command("skip", *map(str, place), "--reason", "again", expect=1)

    headers = dict(letter.headers)
    assert headers["x-dlq-reason"] == b"skipped"
    assert headers["x-dlq-error"] == b"an operator gave it up: no credit, ever"
    told = json.loads(audit.value)
    assert (told["action"], told["topic"], told["offset"], told["reason"]) == (
        "skip",
        place.topic,
        place.offset,
        "no credit, ever",
    )
    assert "accepted" in {kind for kinds in terminal(outcomes).values() for kind in kinds}
    assert "is finished" in again.stderr


@REAL_SERVERS
async def test_an_input_record_can_be_given_up_before_it_is_read(servers, tmp_path) -> None:
    async with open_world(tmp_path, **servers) as world:
        async with world.worker():
            pass  # makes the keys
        await world.publish("order.shipped", {"phone": "+33671000001"})
        (record,) = await world.read("orders.events", lambda found: len(found) >= 1)
        told = await world.command("skip", *map(str, record.place), "--reason", "not wanted", "--wait", "0")
        async with world.worker():
            (letter,) = await world.read("sms.router.dlq", lambda found: len(found) >= 1)

    assert "nobody has so far" in told.stderr
    assert dict(letter.headers)["x-dlq-reason"] == b"skipped"
    assert not world.provider.requests


@REAL_SERVERS
async def test_a_fetch_task_that_died_silently_is_noticed_and_the_client_rebuilt(servers, tmp_path) -> None:
    async with open_world(tmp_path, **servers) as world, world.worker() as worker:
        await world.publish("order.shipped", {"phone": "+33671000001"})
        await world.outcomes(1)
        broken = worker._stage.runners["sender-transactional"].source
        broken._consumer._fetcher._fetch_task.cancel()
        while worker._stage.runners["sender-transactional"].source is broken:
            await asyncio.sleep(0.1)

        await world.publish("order.shipped", {"phone": "+33671000002"})
        outcomes = await world.outcomes(2, 60)
    assert {tuple(kinds) for kinds in terminal(outcomes).values()} == {("accepted",)}
    assert max(world.provider.requests.values()) == 1


@REAL_SERVERS
async def test_another_lane_s_campaign_is_no_excuse_for_a_lane_that_stands_still(servers, tmp_path) -> None:
    """Marketing waits for its rate all day; a transactional message that waits for nothing must be noticed all the same."""
    rates = {"transactional": 50.0, "marketing": 0.01}
    async with open_world(tmp_path, **servers, rates=rates, behaviour=Behaviour(latency_ms=8_000)) as world:
        await world.people(2)
        async with world.worker() as worker:
            for _ in range(2):
                await world.publish("promotion.announced", {"contact_id": "c-1"})
            await world.publish("order.shipped", {"phone": "+33671000001"})
            for _ in range(600):
                offers = worker.overseer.look("sender-marketing")
                order = worker.overseer.look("sender-transactional")
                if offers.throttled and order.unmoved_s > 1:
                    break
                await asyncio.sleep(0.05)

            assert (offers.throttled, order.throttled) == (True, False)


@REAL_SERVERS
async def test_a_lane_that_stands_still_ends_the_process_after_the_others_have_finished(
    servers, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("worker.app.give_up_after", lambda _: None)
    async with open_world(tmp_path, **servers, behaviour=Behaviour(latency_ms=1_500)) as world:
        with pytest.raises(BaseExceptionGroup) as ended:
            async with world.worker() as worker:
                await world.publish("order.shipped", {"phone": "+33671000001"})
                while not world.provider.requests:
                    await asyncio.sleep(0.02)
                monkeypatch.setattr(Watchdog, "note", lambda its, *_: its._name == "sender-marketing")
                monkeypatch.setattr(Watchdog, "_act", _stuck)
                await asyncio.sleep(1.2)
        outcomes = await world.outcomes(1)

    assert [str(error) for error in leaves(ended.value)] == ["sender-marketing"]
    assert {tuple(kinds) for kinds in terminal(outcomes).values()} == {("accepted",)}
    assert world.provider.summary()["texted_twice"] == []
    assert max(world.provider.requests.values()) == 1


async def _stuck(its: Watchdog) -> None:
    raise Stuck(its._name)
