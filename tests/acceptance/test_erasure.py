"""Who asked to be forgotten is: in every table and topic that the worker writes, opened with every key that is left."""

import asyncio
import base64
import json
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from schemas.messages import Lane
from tests.conftest import REAL_SERVERS
from tests.world import World, open_world
from worker.sealing import DataKey, Erased, key_id_of
from worker.secret_files import load_key_ring
from worker.servers import DatabaseSettings
from worker.state.database import open_database
from worker.state.tables import contacts, metadata, person_keys

NAME, PHONE, ORDER, CODE = "Rumpelstiltskin", "+33671999777", "ORDER-OF-HIS", "775533"
SECRETS = [NAME, PHONE[1:], "0" + PHONE[3:], ORDER, CODE, "REF-OF-HIS"]


async def keys_left(world: World) -> dict[bytes, DataKey]:
    ring = load_key_ring(world.folder / "key-ring.json", create=False)
    async with (
        open_database(DatabaseSettings(url=world.stage.database), tool=True) as database,
        database.reading() as open_,
    ):
        rows = await open_.execute(sa.select(person_keys))
        return {row.key_id: ring.unwrap(row.subject, row.key_id, row.ring_key, row.wrapped) for row in rows}


def readings(blob: bytes, keys: dict[bytes, DataKey]) -> list[bytes]:
    """Return *blob*, and what is sealed in it, and in that, as far as a key is left."""
    try:
        told = json.loads(blob)
        sealed = base64.b64decode(told["sealed"]) if isinstance(told, dict) and told.get("sealed") else blob
    except ValueError:
        sealed = blob
    try:
        return [blob, *readings(keys[key_id_of(sealed)].open(sealed), keys)]
    except (Erased, KeyError):
        return [blob]


async def everything(world: World) -> dict[str, list[bytes]]:
    """Return every value of every table and every topic that the worker writes."""
    found: dict[str, list[bytes]] = {}
    async with (
        open_database(DatabaseSettings(url=world.stage.database), tool=True) as database,
        database.reading() as open_,
    ):
        for table in metadata.sorted_tables:
            for row in await open_.execute(sa.select(table)):
                found.setdefault(table.name, []).extend(
                    value if isinstance(value, bytes) else str(value).encode() for value in row if value is not None
                )
    topics = ["sms.outcomes", "sms.router.dlq", "sms.audit", "sms.router.replay"]
    topics += [f"sms.{lane}{suffix}" for lane in Lane for suffix in ("", ".due", ".dlq")]
    for topic in topics:
        for record in await world.read(topic, lambda _: False, 1.5):
            parts = [record.key, record.value, *(value for _, value in record.headers)]
            found.setdefault(topic, []).extend(part for part in parts if part)
    return found


def naming(found: dict[str, list[bytes]], keys: dict[bytes, DataKey]) -> set[str]:
    return {
        place
        for place, blobs in found.items()
        for blob in blobs
        for reading in readings(blob, keys)
        if any(secret.encode() in reading for secret in SECRETS)
    }


@REAL_SERVERS
async def test_nothing_of_an_erased_person_can_be_read_any_more(servers, tmp_path) -> None:
    async with open_world(tmp_path, **servers, delay="10m") as world:
        who = {"contact_id": "REF-OF-HIS"}
        await world.publish(
            "contact.updated", who, contact_id="REF-OF-HIS", phone=PHONE, first_name=NAME, attributes={"orders_90d": 3}
        )
        await world.publish("consent.granted", who, purposes=["offers", "cart_reminders"])
        async with world.process():
            await world.publish("order.shipped", who, order_id=ORDER)
            await world.publish("promotion.announced", recipients=[who])
            await world.publish("otp.requested", {"phone": PHONE}, code=CODE)
            await world.publish("cart.abandoned", who, cart_id="REF-OF-HIS")  # waits
            await world.publish(
                "order.delivered", who, order_id=ORDER, place="-20 % AVEC LE CODE NOEL"
            )  # a dead letter
            await world.send("orders.events", json.dumps({"order_id": ORDER, "recipient": who}).encode(),
                             [("ce_id", b"x"), ("ce_source", b"/s"), ("ce_type", b"order.shipped"), ("ce_specversion", b"1.0")])  # fmt: skip
            await world.outcomes(3)
            await world.read("sms.transactional.dlq", lambda letters: len(letters) >= 1)
            await world.read("sms.outcomes", lambda told: any(b"delayed" in one.value for one in told))
            before = await everything(world)
            known = naming(before, await keys_left(world))

            await world.publish("contact.erased", who, contact_id="REF-OF-HIS", phone=PHONE,
                                time=datetime.now(UTC) + timedelta(seconds=1))  # fmt: skip
            for _ in range(100):
                async with open_database(DatabaseSettings(url=world.stage.database), tool=True) as database:
                    async with database.reading() as open_:
                        left = (
                            await open_.execute(sa.select(sa.func.count()).where(contacts.c.sealed.is_not(None)))
                        ).scalar()
                if not left:
                    break
                await asyncio.sleep(0.1)
            after = await everything(world)
            forgotten = naming(after, await keys_left(world))
            await world.publish("order.shipped", who, order_id="another")
            outcomes = await world.outcomes(4)

    # Or this test could not fail: while the keys were there, it was to be read in all these places.
    assert {
        "contacts",
        "consents",
        "deferred",
        "sms.transactional",
        "sms.marketing",
        "sms.urgent",
        "sms.transactional.dlq",
    } <= known
    assert forgotten <= {"sms.router.dlq"}  # sealed with the key of the day, as nobody could be named for it
    assert any(one.get("reason") in ("erased", "unknown_contact") for its in outcomes.values() for one in its)
