"""A STOP silences what waits: for the lane, for the limiter, for its time; within the bound that the design promises."""

import asyncio
import json
from datetime import datetime

import pytest
import sqlalchemy as sa

from tests import builders
from tests.world import open_world
from worker.routing.loading import load_configuration
from worker.servers import DatabaseSettings
from worker.state.database import open_database
from worker.state.tables import consents

PEOPLE, WITHDRAW, RATE = 10_000, 100, 500.0


def phone(number: int) -> str:
    return f"+336{71000000 + number:08}"


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.timeout(400)
async def test_of_ten_thousand_that_wait_a_hundred_withdraw_and_get_nothing_after_the_bound(
    kafka, postgres, tmp_path
) -> None:
    from worker.state.schema import migrate

    url = postgres.new_database()
    await asyncio.to_thread(migrate, url)
    rates = {"transactional": 500.0, "marketing": RATE}
    async with open_world(tmp_path, kafka.address, url, embedded=False, rates=rates, max_in_flight=100) as world:

        async def put(event_type: str, number: int, data: dict) -> asyncio.Future:
            its = builders.binary(event_type, data, f"{event_type}-{number}", None)
            key = data.get("contact_id") or data.get("recipient", {}).get("contact_id") or "all"
            topic = "marketing.events" if event_type.startswith("promotion") else "customers.events"
            return await world._producer.send(topic, its["value"], key=key.encode(), headers=list(its["headers"]))

        sent = []
        for number in range(PEOPLE):
            who = {"contact_id": f"c-{number}"}
            card = {"contact_id": f"c-{number}", "phone": phone(number), "attributes": {"orders_90d": 3}}
            sent.append(await put("contact.updated", number, builders.data("contact.updated", **card)))
            sent.append(
                await put("consent.granted", number, builders.data("consent.granted", who, purposes=["offers"]))
            )
        for start in range(0, PEOPLE, 100):
            everybody = [{"contact_id": f"c-{n}"} for n in range(start, start + 100)]
            sent.append(
                await put("promotion.announced", start, builders.data("promotion.announced", recipients=everybody))
            )
        await asyncio.gather(*sent)

        async with world.process(), world.process():
            while len(world.provider.sent) < 2_000:  # the others wait, for the lane or for the limiter
                await asyncio.sleep(0.05)
            had = {one.to for one in world.provider.sent}
            leaving = [n for n in range(PEOPLE - 1, 0, -1) if phone(n) not in had][:WITHDRAW]
            for number in leaving:
                await put("consent.revoked", number, builders.data("consent.revoked", {"contact_id": f"c-{number}"}))
            await world.read("sms.outcomes", lambda found: _ended(found) >= PEOPLE, 240)

        async with open_database(DatabaseSettings(url=url)) as database, database.reading() as connection:
            rows = await connection.execute(
                sa.select(sa.func.max(consents.c.recorded_at))
                .where(consents.c.act == "revoked")
                .group_by(consents.c.person)
            )
            committed = [at for (at,) in rows]

    window_s = load_configuration(world.config).accounts.of("marketing")[1].start_window_s
    withdrawn = {phone(number) for number in leaving}
    late = [datetime.fromisoformat(one.at).timestamp() for one in world.provider.sent if one.to in withdrawn]
    assert len(committed) == WITHDRAW
    assert all(at <= min(committed) + window_s for at in late)
    assert len(late) < WITHDRAW / 2  # most of them were still waiting, or this shows nothing
    assert len(world.provider.sent) == PEOPLE - WITHDRAW + len(late)


def _ended(records) -> int:
    return len({json.loads(one.value)["data"]["message_id"] for one in records if b'"deferred"' not in one.value})
