"""The whole line on real brokers and databases: events in, texts at the provider, outcomes on the results topic."""

import asyncio
import json
import re
from dataclasses import replace

from schemas.outcomes import Outcome
from tests import builders
from tests.conftest import REAL_SERVERS
from tests.world import open_world, terminal
from worker.results import restore
from worker.sandbox.provider import Behaviour
from worker.secret_files import load_key_ring, load_pepper
from worker.servers import DatabaseSettings
from worker.state.database import open_database
from worker.state.people import People


async def test_every_event_becomes_its_text_and_an_outcome_that_says_so(servers, tmp_path) -> None:
    async with open_world(tmp_path, **servers) as world:
        await world.people(3)
        async with world.worker():
            ids = {}
            for event_type in builders.DATA:
                if not event_type.startswith(("contact.", "consent.", "payment.")):
                    ids[event_type] = await world.publish(event_type)
            payment = {"meta": {"id": 9, "kind": "PAYMENT_FAILED"}, "payload": builders.data("payment.failed")}
            await world.send("billing.json", json.dumps(payment).encode())
            outcomes = await world.outcomes(16)

        assert {kind for kinds in terminal(outcomes).values() for kind in kinds} == {"accepted"}
        assert len(outcomes) == 16
        texts = list(world.provider.sent)
        assert len(texts) == 16
        by_ref = {text.ref.rsplit("-", 1)[0]: text for text in texts}
        assert set(by_ref) == set(outcomes)
        for message, (*_, outcome) in outcomes.items():
            text, marketing = by_ref[message], outcome["category"] == "marketing"
            assert text.purpose == ("wholesale" if marketing else "alert")
            assert text.account == outcome["category"]
            assert text.sender == ("BOUTIQUEPUB" if marketing else "BOUTIQUE")
            assert (outcome["segments"], outcome["encoding"], outcome["cost"]) == (
                text.segments,
                text.encoding,
                text.cost,
            )
            assert ("STOP au 30101" in text.text) is marketing


async def test_an_outcome_is_a_cloudevent_of_its_schema_with_an_id_that_stays(servers, tmp_path) -> None:
    async with open_world(tmp_path, **servers) as world:
        await world.people(2)
        async with world.worker():
            await world.publish("order.shipped", event_id="same")
            await world.publish("order.shipped", event_id="same")
            records = await world.read("sms.outcomes", lambda found: len(found) >= 2)

    envelopes = [Outcome.model_validate_json(record.value) for record in records]
    assert len({envelope.id for envelope in envelopes}) == 1
    assert {envelope.type for envelope in envelopes} == {"sms.accepted"}
    assert records[0].value == records[1].value
    assert {record.key.decode() for record in records} == {envelopes[0].data.message_id}
    assert len(world.provider.sent) == 1


async def test_marketing_needs_a_live_grant_and_says_why_not(servers, tmp_path) -> None:
    async with open_world(tmp_path, **servers) as world:
        await world.people(2)
        await world.publish("contact.updated", contact_id="c-none", phone="+33671999991", attributes={"orders_90d": 3})
        for who, phone in (("c-gone", "+33671999992"), ("c-blocked", "+33671999993")):
            await world.publish("contact.updated", contact_id=who, phone=phone, attributes={"orders_90d": 3})
            await world.publish("consent.granted", {"contact_id": who})
            await world.publish("consent.revoked", {"contact_id": who}, block=who == "c-blocked")
        async with world.worker():
            everybody = [{"contact_id": who} for who in ("c-0", "c-none", "c-gone", "c-blocked", "c-unknown")]
            await world.publish("promotion.announced", recipients=everybody)
            for who in ("c-gone", "c-blocked"):
                await world.publish("order.shipped", {"contact_id": who})
            outcomes = await world.outcomes(9)

    told = sorted((o["lane"], o["outcome"], o.get("reason")) for its in outcomes.values() for o in its[-1:])
    assert told == [
        ("marketing", "accepted", None),
        ("marketing", "suppressed", "blocked"),
        ("marketing", "suppressed", "consent_revoked"),
        ("marketing", "suppressed", "no_consent"),
        *[("marketing", "suppressed", "unknown_contact")] * 3,
        ("transactional", "accepted", None),
        ("transactional", "suppressed", "blocked"),
    ]


async def test_what_the_provider_refuses_ends_where_it_should(servers, tmp_path) -> None:
    numbers = {"refused": "+33600000181", "ours": "+33600001340", "lost": "+33600009006", "once": "+33600009005"}
    async with open_world(tmp_path, **servers, accounts={"http_deadline_s": 3}) as world:
        async with world.worker():
            for phone in numbers.values():
                await world.publish("order.shipped", {"phone": phone})
            outcomes = await world.outcomes(3)
            letters = await world.read("sms.transactional.dlq", lambda found: len(found) >= 1)

    kinds = sorted(kind for kinds in terminal(outcomes).values() for kind in kinds)
    assert kinds == ["accepted", "accepted", "rejected"]
    (letter,) = letters
    assert dict(letter.headers)["x-dlq-reason"] == b"text_refused"
    assert world.provider.summary()["texted_twice"] == []


BAD = [
    (b'{"cut', builders.binary("order.shipped", {})["headers"], "malformed_json"),
    (None, builders.binary("order.shipped", {})["headers"], "null_value"),
    (b"\x00\x00\x00\x00\x07{}", (), "confluent_framed"),
    (b"x" * 900_000, (), "not_cloudevents"),
    (json.dumps(builders.data("order.shipped", tracking_url="no")).encode(), builders.binary("order.shipped", {})["headers"], "bad_data"),
]  # fmt: skip


async def test_bad_records_are_kept_whole_and_neither_stop_nor_slow_the_good_ones(servers, tmp_path) -> None:
    """Ten thousand bad records in a row, then one good one; each bad one can be had back to the byte."""
    async with open_world(tmp_path, **servers) as world:
        await world.people(2)
        for _ in range(2_500):
            for value, headers, _ in BAD[:3]:
                await world._producer.send("orders.events", value, headers=list(headers), partition=0, key=b"k")
        for number in range(2_500):
            value, headers, _ = BAD[4]
            await world._producer.send(
                "orders.events", value, headers=list(headers), partition=0, key=str(number).encode()
            )
        value, headers, _ = BAD[3]
        await world.send("orders.events", value, headers, key=b"+33612345678")
        async with world.worker():
            await world.publish("order.shipped")
            outcomes = await world.outcomes(1)
            letters = await world.read("sms.router.dlq", lambda found: len(found) >= 10_001, 90)

        assert len(outcomes) == 1
        reasons = [dict(letter.headers)["x-dlq-reason"].decode() for letter in letters]
        assert {reason: reasons.count(reason) for reason in set(reasons)} == {
            "malformed_json": 2_500, "null_value": 2_500, "confluent_framed": 2_500, "bad_data": 2_500, "not_cloudevents": 1,
        }  # fmt: skip
        (large,) = [letter for letter in letters if dict(letter.headers)["x-dlq-reason"] == b"not_cloudevents"]
        settings = DatabaseSettings(url=servers["database"])
        async with open_database(settings) as database:
            people = People(database, load_key_ring(tmp_path / "key-ring.json", create=False))
            subject = dict(large.headers)["x-dlq-sealed-for"].decode()
            key = (await people.load([subject]))[subject].key
        original = restore(large, key)
        assert (original.value, original.key, original.topic) == (b"x" * 900_000, b"+33612345678", "orders.events")
        assert load_pepper(tmp_path / "pepper", create=False)


@REAL_SERVERS
async def test_a_stop_in_the_middle_silences_what_waits(servers, tmp_path) -> None:
    """Offers wait for a slow account; who withdraws meanwhile gets none, and who does not gets theirs."""
    rates = {"transactional": 500.0, "marketing": 8.0}
    async with open_world(tmp_path, **servers, rates=rates) as world:
        await world.people(40)
        async with world.worker():
            await world.publish("promotion.announced", recipients=[{"contact_id": f"c-{n}"} for n in range(40)])
            await world.outcomes(6)
            sent_before = {text.to for text in world.provider.sent}
            phones = {f"c-{n}": f"+336{71000000 + n:08}" for n in range(40)}
            waiting = [who for who, phone in phones.items() if phone not in sent_before][-10:]
            for who in waiting:
                await world.publish("consent.revoked", {"contact_id": who})
            outcomes = await world.outcomes(40)

        silenced = [o for its in outcomes.values() for o in its if o.get("reason") == "consent_revoked"]
        texted = {text.to for text in world.provider.sent}
        assert len(outcomes) == 40
        assert len(silenced) >= 7  # a claim made before the withdrawal was written may still go out
        assert len(texted) + len(silenced) == 40


async def test_a_login_code_overtakes_what_waits_for_the_same_account(servers, tmp_path) -> None:
    """With one account at ten segments a second and sixty order texts waiting for it, a code goes at once."""
    async with open_world(tmp_path, **servers, rates={"transactional": 10.0, "marketing": 10.0}) as world:
        await world.people(60)
        async with world.worker():
            for number in range(60):
                await world.publish("order.shipped", {"contact_id": f"c-{number}"})
            await world.outcomes(10)
            before = len(world.provider.sent)
            await world.publish("otp.requested", {"phone": "+33699999999"})
            await world.outcomes(40)

    place = next(i for i, text in enumerate(world.provider.sent) if text.to == "+33699999999")
    assert place - before <= 15


@REAL_SERVERS
async def test_good_records_between_bad_ones_are_sent_each_once(servers, tmp_path) -> None:
    """One emitter writes a good and a bad order in turn, with the same key: none is lost, held up or taken for the other."""
    async with open_world(tmp_path, **servers, rates={"transactional": 500.0, "marketing": 10.0}) as world:
        for number in range(200):
            good = builders.binary(
                "order.shipped", builders.data("order.shipped", {"phone": "+33671000001"}), f"good-{number}", None
            )
            await world.send("orders.events", good["value"], good["headers"], b"k")
            await world.send(
                "orders.events", b'{"cut', builders.binary("order.shipped", {}, f"bad-{number}")["headers"], b"k"
            )
        async with world.worker():
            outcomes = await world.outcomes(200, 90)
            letters = await world.read("sms.router.dlq", lambda found: len(found) >= 200, 30)

    assert {tuple(kinds) for kinds in terminal(outcomes).values()} == {("accepted",)}
    assert (len(outcomes), len(letters)) == (200, 200)
    assert max(world.provider.requests.values()) == 1


@REAL_SERVERS
async def test_a_person_with_half_of_all_messages_delays_nobody_else(servers, tmp_path) -> None:
    """One at a time to each person: the others are done while most of the busy one's still wait, which keep their order."""
    stage = {**servers, "rates": {"transactional": 1000.0, "marketing": 10.0}, "max_in_flight": 40}
    async with open_world(tmp_path, **stage, behaviour=Behaviour(latency_ms=100)) as world:
        busy = "+33671999999"
        for number in range(60):
            await world.publish("order.shipped", {"phone": busy}, order_id=f"b{number:03}")
            await world.publish("order.shipped", {"phone": f"+336710{number:05}"}, order_id=f"o{number:03}")
        async with world.worker():
            await world.outcomes(120, 90)

    to = [text.to for text in world.provider.sent]
    last_other = max(place for place, phone in enumerate(to) if phone != busy)
    numbers = [re.search(r"#b(\d+)", text.text)[1] for text in world.provider.sent if text.to == busy]
    assert to[last_other:].count(busy) > 30
    assert numbers == sorted(numbers)
    assert len(to) == 120


@REAL_SERVERS
async def test_an_account_that_sends_too_fast_rests_as_long_as_the_provider_says_and_loses_nothing(
    servers, tmp_path
) -> None:
    """429 with Retry-After for every request of two seconds: nothing was sent, so everything goes afterwards, in order."""
    async with open_world(tmp_path, **servers, rates={"transactional": 200.0, "marketing": 10.0}) as world:
        world.provider.behaviour = replace(world.provider.behaviour, error_rate=1.0, error_code=429)
        async with world.worker():
            for number in range(30):
                await world.publish("order.shipped", {"phone": f"+3367100{number % 5:04}"}, order_id=f"{number:04}")
            while world.provider.requests.total() < 3:
                await asyncio.sleep(0.05)
            await asyncio.sleep(2)
            refused = world.provider.requests.total()
            world.provider.behaviour = replace(world.provider.behaviour, error_rate=0.0)
            outcomes = await world.outcomes(30, 60)

    assert {tuple(kinds) for kinds in terminal(outcomes).values()} == {("accepted",)}
    assert len(outcomes) == 30
    assert world.provider.summary()["texted_twice"] == []
    assert refused < 30  # the account rested: not every message was tried again and again
