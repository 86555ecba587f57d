"""Support, marketing and compliance beside a running worker: find, suppress, consent, the right of access."""

import json
from datetime import UTC, datetime, timedelta

from schemas.outcomes import OutcomeKind
from tests.conftest import REAL_SERVERS
from tests.world import World, open_world
from worker.demo.configuring import OPEN, UNCAPPED
from worker.policy.told import OUTCOMES, REASONS, tell
from worker.policy.verdicts import Reason

PHONE = "+336710000{:02}".format


async def audit(world: World, action: str) -> list[dict]:
    records = await world.read(
        "sms.audit", lambda found: any(json.loads(one.value)["action"] == action for one in found)
    )
    return [told for one in records if (told := json.loads(one.value))["action"] == action]


@REAL_SERVERS
async def test_a_suppression_silences_a_number_and_lifting_it_lets_it_speak_again(servers, tmp_path) -> None:
    async with open_world(tmp_path, **servers) as world:
        await world.people(4)
        async with world.process():
            await world.publish("order.shipped", {"contact_id": "c-0"})  # secrets and contacts are there by then
            await world.outcomes(1)
            await world.command("suppress", "add", "--phone", "-", "--reason", "complaint", said="06 71 00 00 00\n")
            file = tmp_path / "stops.csv"
            yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
            rows = [
                f"{PHONE(1)};stop;marketing;{yesterday}",
                "not a number;stop;marketing;",
                f"{PHONE(2)};manual;everything;",
            ]
            file.write_text("phone;reason;scope;at\n" + "\n".join(rows) + "\n")
            told = await world.command("suppress", "import", str(file), expect=1)
            listed = await world.command("suppress", "ls")

            everybody = [{"contact_id": f"c-{n}"} for n in range(4)]
            await world.publish("promotion.announced", recipients=everybody)
            await world.publish("order.shipped", {"contact_id": "c-2"})
            await world.outcomes(6)
            await world.command("suppress", "remove", "--phone", "-", said=f"{PHONE(0)}\n")
            await world.command("suppress", "remove", "--phone", "-", said=f"{PHONE(0)}\n", expect=1)
            await world.publish("promotion.announced", recipients=everybody[:1])
            outcomes = await world.outcomes(7)
            written = await audit(world, "suppress.import")

    assert f"{file}:3: phone: invalid_number" in told.stderr
    assert "2 suppressed, 1 lines left out" in told.stderr
    assert "+336" not in listed.stdout + told.stdout + told.stderr
    assert {"complaint", "stop", "manual"} <= set(listed.stdout.split())
    ended = [one for its in outcomes.values() for one in its if one["outcome"] != "deferred"]
    marketing = sorted((o["outcome"], o.get("reason", "")) for o in ended if o["category"] == "marketing")
    # c-1's STOP was yesterday, and c-1 agreed today; c-3 was never suppressed; c-0 again after it was lifted.
    # c-2 wants no text at all.
    assert marketing == [("accepted", "")] * 3 + [("suppressed", "blocked"), ("suppressed", "suppressed")]
    assert sorted((o["outcome"], o.get("reason", "")) for o in ended if o["category"] == "transactional") == [
        ("accepted", ""), ("suppressed", "blocked"),
    ]  # fmt: skip
    assert (written[0]["numbers"], written[0]["left_out"]) == (2, 1)


@REAL_SERVERS
async def test_support_finds_what_came_of_a_person_in_two_languages_and_no_number_is_shown(servers, tmp_path) -> None:
    async with open_world(tmp_path, **servers) as world:
        await world.people(2, consents=())
        async with world.process():
            event = await world.publish("order.shipped", {"contact_id": "c-0"})
            await world.publish("otp.requested", {"phone": PHONE(0)})
            await world.publish("promotion.announced", recipients=[{"contact_id": "c-0"}, {"contact_id": "c-1"}])
            await world.outcomes(4)
            by_phone = await world.command("find", "--phone", "-", said="06.71.00.00.00\n")
            as_json = await world.command("find", "--contact", "c-0", "--json")
            by_event = await world.command("find", "--event-id", event)
            nobody = await world.command("find", "--phone", "-", said="+33671999999\n", expect=1)
            by_order = await world.command("find", "--order", "1234")
            both = await world.command("find", "--phone", "-", "--contact", "c-0", expect=2)
            asked = await audit(world, "find")

    assert "order.shipped" in by_phone.stdout
    assert "otp.requested" in by_phone.stdout
    assert "handed to the operator" in by_phone.stdout
    assert "remis à l'opérateur" in by_phone.stdout
    assert "the person did not agree to this" in by_phone.stdout
    assert "+336 •• •• •• 00" in by_phone.stdout
    assert "671000000" not in by_phone.stdout.replace(" ", "")
    assert {one["event"]["type"] for one in json.loads(as_json.stdout)} == {"order.shipped", "promotion.announced"}
    assert by_event.stdout.count("order.shipped") == 1
    assert "Nothing" in nobody.stdout
    assert "give one of" in both.stderr
    assert by_order.stdout.count("order.shipped") == 1
    assert "otp.requested" not in by_order.stdout
    assert len(asked) == 5
    assert all("+33" not in json.dumps(one) for one in asked)


@REAL_SERVERS
async def test_consents_are_shown_proved_taken_over_and_withdrawn(servers, tmp_path) -> None:
    async with open_world(tmp_path, **servers) as world:
        await world.people(1)
        async with world.process():
            await world.publish("promotion.announced", recipients=[{"contact_id": "c-0"}])
            outcomes = await world.outcomes(1)
            file = tmp_path / "consents.csv"
            head = "phone,purposes,at,channel,wording_version,wording,brand"
            good = f"{PHONE(7)},offers invitations,2026-03-01T10:00:00Z,shop,v2,<b>Oui</b> je veux des offres,BOUTIQUE"
            bad = [
                f"{PHONE(8)},ofers,2026-03-01T10:00:00Z,shop,v2,,",
                f"{PHONE(8)},offers,yesterday,shop,v2,,",
                f"{PHONE(8)},offers,2099-01-01T10:00:00Z,shop,v2,,",
            ]
            file.write_text("\n".join([head, good, *bad]) + "\n")
            told = await world.command("consent", "import", str(file), expect=1)
            await world.command("consent", "import", str(file), expect=1)
            shown = json.loads((await world.command("consent", "show", "--phone", "-", "--json", said=PHONE(7))).stdout)
            page = tmp_path / "proof.html"
            await world.command(
                "consent", "prove", "--phone", "-", "--at", "2026-04-01", "--out", str(page), said=PHONE(7)
            )
            early = tmp_path / "early.html"
            await world.command(
                "consent", "prove", "--phone", "-", "--at", "2026-02-01", "--out", str(early), said=PHONE(7)
            )
            await world.command("consent", "revoke", "--phone", "-", "--purpose", "offers", said=PHONE(7))
            after = json.loads((await world.command("consent", "show", "--phone", "-", "--json", said=PHONE(7))).stdout)
            sold = tmp_path / "sold.html"
            await world.command("consent", "prove", "--phone", "-", "--out", str(sold), said=PHONE(0))
            exported = (await world.command("consent", "export")).stdout
            person = json.loads((await world.command("person", "export", "--phone", "-", said=PHONE(0))).stdout)

    assert f"{file}:3: purposes: found 'ofers'; there are offers, " in told.stderr
    assert f"{file}:4: at: is no time" in told.stderr
    assert f"{file}:5: at: is in the future" in told.stderr
    assert "1 consents taken over, 3 lines left out" in told.stderr
    assert shown["allowed"] == {"offers": None, "invitations": None, "cart_reminders": "no_consent"}
    assert len(shown["acts"]) == 2  # a file taken over twice is taken over once
    assert after["allowed"]["offers"] == "consent_revoked"
    html = page.read_text()
    assert "&lt;b&gt;Oui&lt;/b&gt; je veux des offres" in html
    assert '<td>offers</td><td class="yes">yes</td>' in html
    assert "version v2" in html
    assert 'class="yes"' not in early.read_text()
    assert PHONE(7) not in html
    assert "promotion_loyal, " in sold.read_text()
    (sent,) = [one for its in outcomes.values() for one in its if one["outcome"] == "accepted"]
    assert sent["consent"]["topic"] == "customers.events"
    assert sent["policy_version"]
    assert exported.splitlines()[0].startswith("person,act,purpose,at")
    assert "+33" not in exported
    assert person["contacts"][0]["phone"] == PHONE(0)
    assert person["acts"][0]["record"]["wording_version"] == "1"
    assert person["messages"][0]["outcome"] == "accepted"


def test_every_outcome_and_every_reason_has_words_in_both_languages() -> None:
    assert set(OUTCOMES) == set(OutcomeKind)
    assert set(REASONS) == set(Reason)
    for kind in OutcomeKind:
        for reason in (None, *Reason, "advertising"):
            assert all(words and words == words.strip() for words in tell(kind, reason))


@REAL_SERVERS
async def test_what_has_not_been_sent_can_be_taken_back_and_later_events_go(servers, tmp_path) -> None:
    # So slow that most of it still waits when the commands have run, on however busy a machine.
    stage = {"rates": {"transactional": 500.0, "marketing": 0.3}, "delay": "10m", "max_in_flight": 4}
    async with open_world(tmp_path, **servers, **stage) as world:
        await world.people(81)
        async with world.process():
            everybody = [{"contact_id": f"c-{n}"} for n in range(80)]
            await world.publish("promotion.announced", recipients=everybody, campaign="autumn")
            await world.publish("cart.abandoned", {"contact_id": "c-0"})
            await world.read("sms.outcomes", lambda found: any(b"delayed" in one.value for one in found))
            await world.outcomes(3)

            rehearsed = await world.command("cancel", "--campaign", "autumn")
            done = await world.command("cancel", "--campaign", "autumn", "--yes")
            cart = await world.command("cancel", "--route", "cart-reminder", "--yes")
            await world.command("cancel", "--campaign", "spring", expect=1)
            await world.publish("promotion.announced", recipients=[{"contact_id": "c-80"}], campaign="autumn")
            outcomes = await world.outcomes(82)
            written = await audit(world, "cancel")
            undone = await world.command("cancel", "--campaign", "autumn", "--undo")
            await world.command("cancel", "--campaign", "autumn", "--undo", expect=1)

    assert "goes again" in undone.stderr
    assert "would be taken back; --yes does it" in rehearsed.stderr
    assert int(done.stderr.split()[0]) > 20
    assert "waits  delayed" in cart.stdout
    ended = {name: [one for one in its if one["outcome"] != "deferred"] for name, its in outcomes.items()}
    told = [(one["route"], one["outcome"], one.get("reason")) for (one,) in ended.values()]
    assert ("cart-reminder", "suppressed", "cancelled") in told
    cancelled = sum(reason == "cancelled" for _, _, reason in told)
    assert cancelled > 20
    assert sum(outcome == "accepted" for _, outcome, _ in told) == 82 - cancelled
    assert any(one.to == PHONE(80) for one in world.provider.sent)
    assert [one["scope"] for one in written] == ["campaign:autumn", "route:cart-reminder"]


@REAL_SERVERS
async def test_customers_who_did_not_object_are_offered_similar_products_where_that_is_configured(
    servers, tmp_path
) -> None:
    customers = {"attribute": "orders_90d", "purposes": ["offers"]}
    async with open_world(
        tmp_path, **servers, policy={"hours": OPEN, "caps": UNCAPPED, "existing_customers": customers}
    ) as world:
        for template in ("promotion", "promotion_loyal"):
            path = world.config / "templates" / f"{template}.yaml"
            path.write_text(path.read_text().replace("purpose: offers", "purpose: offers\nsimilar_products: true"))
        await world.people(2, consents=())
        async with world.process():
            await world.publish("consent.revoked", {"contact_id": "c-1"})
            await world.publish("promotion.announced", recipients=[{"contact_id": "c-0"}, {"contact_id": "c-1"}])
            outcomes = await world.outcomes(2)
            page = tmp_path / "proof.html"
            await world.command("consent", "prove", "--phone", "-", "--out", str(page), said=PHONE(0))

    told = sorted((o["outcome"], o.get("reason"), o.get("basis")) for its in outcomes.values() for o in its)
    assert told == [("accepted", None, "existing_customer"), ("suppressed", "no_consent", None)]
    assert "an existing customer who had not objected" in page.read_text()
    assert "similar products only, as a customer who did not object" in page.read_text()
