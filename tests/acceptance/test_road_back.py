"""Dead letters are read, understood, mended and put back, and nobody is texted twice; bad deploys are redriven; floods hold."""

import json
from pathlib import Path

from tests import builders
from tests.unit.test_configuration import change
from tests.conftest import REAL_SERVERS
from tests.world import World, open_world, terminal

TEMPLATE = "templates/order_shipped.yaml"


def break_template(world: World) -> str:
    """Let order_shipped be too long for the links that really come, whatever it says of them; return it as it was."""
    path = world.config / TEMPLATE
    before = path.read_text()
    padding = "Merci de votre patience, le colis part de chez nous et arrive chez vous dans peu de jours. "
    text = before.replace("longest: 36", "longest: 13").replace("{{ link }}", padding[:84] + "{{ link }}")
    text = text.replace('sample: "https://suivi.example/AB12CD34"', 'sample: "https://x.fr"')
    assert text.count(padding[:84]) == 2
    path.write_text(text)
    return before


async def letters(world: World, count: int, stage: str = "transactional") -> None:
    await world.read(f"sms.{stage}.dlq", lambda found: len(found) >= count)


@REAL_SERVERS
async def test_letters_of_a_broken_template_are_understood_mended_and_put_back_once(servers, tmp_path) -> None:
    async with open_world(tmp_path, **servers) as world:
        await world.people(4)
        before = break_template(world)
        async with world.worker():
            for number in range(3):
                await world.publish("order.shipped", {"contact_id": f"c-{number}"})
            await world.publish("order.delivered", {"contact_id": "c-3"})
            await letters(world, 3)
            await world.outcomes(1)

        listed = json.loads((await world.command("dead-letters", "ls", "--json")).stdout)
        counted = json.loads(
            (await world.command("dead-letters", "histogram", "--json", "--reason", "text_too_long")).stdout
        )
        shown = (await world.command("dead-letters", "show", listed[0]["place"])).stdout
        again = (await world.command("dead-letters", "replay", "--yes")).stdout
        (world.config / TEMPLATE).write_text(before)
        rehearsed = await world.command("dead-letters", "replay", "--stage", "transactional")
        other = (await world.command("dead-letters", "replay", "--yes", "--reason", "missing_variable")).stdout
        some = (await world.command("dead-letters", "replay", "--yes", "--max", "2")).stdout
        rest = (await world.command("dead-letters", "replay", "--yes")).stdout
        none = (await world.command("dead-letters", "replay", "--yes")).stdout
        async with world.worker():
            outcomes = await world.outcomes(4)

    assert [(row["reason"], row["template"], row["attempts"]) for row in listed] == [
        ("text_too_long", "order_shipped", "1")
    ] * 3
    assert [(row["reason"], row["letters"]) for row in counted] == [("text_too_long", 3)]
    assert "The text has more segments than max_segments." in shown
    assert "Put back today, it would fail again: text_too_long" in shown
    assert "+336" not in shown
    assert "3 letters = 3 would fail again; 0 segments" in again
    assert "3 letters = 3 replayed; 3 segments" in rehearsed.stdout
    assert "nothing was done" in rehearsed.stderr
    assert other.splitlines()[-1].startswith("0 letters")
    assert "2 letters = 2 replayed" in some
    assert "1 letters = 1 replayed" in rest
    assert none.splitlines()[-1].startswith("0 letters")
    assert {tuple(kinds) for kinds in terminal(outcomes).values()} == {("accepted",)}
    assert len(world.provider.sent) == 4
    assert world.provider.summary()["texted_twice"] == []


@REAL_SERVERS
async def test_an_event_goes_back_to_the_router_and_is_decided_anew(servers, tmp_path) -> None:
    """A consent that came through the wrong topic, and an order whose contact is known by now: both are given up by hand."""
    async with open_world(tmp_path, **servers) as world:
        async with world.worker():
            pass
        await world.publish("order.shipped", {"phone": "+33671000001"}, event_id="given-up")
        bad = builders.binary("order.shipped", b"{", "never-right")
        await world.send("orders.events", bad["value"], bad["headers"], b"k")
        records = await world.read("orders.events", lambda found: len(found) >= 2)
        (place,) = [r.place for r in records if r.value != b"{"]
        await world.command("skip", *map(str, place), "--reason", "a try", "--wait", "0")
        async with world.worker():
            await letters(world, 2, "router")
            told = (await world.command("dead-letters", "replay", "--yes", "--stage", "router")).stdout
            outcomes = await world.outcomes(1)
            audits = await world.read("sms.audit", lambda found: len(found) >= 3)
        left = json.loads((await world.command("dead-letters", "ls", "--json")).stdout)

    assert "2 letters = " in told
    assert "1 replayed" in told
    assert "1 would fail again" in told
    assert [kinds for kinds in terminal(outcomes).values()] == [{"accepted"}]
    assert [row["reason"] for row in left] == ["malformed_json"]
    actions = [json.loads(one.value)["action"] for one in audits]
    assert actions == ["skip", "dead-letters.replay", "dead-letters.replayed"]
    assert json.loads(audits[-1].value)["became"] == {"replayed": 1, "would fail again": 1}


@REAL_SERVERS
async def test_a_letter_that_fails_again_after_three_replays_is_left_alone(servers, tmp_path) -> None:
    async with open_world(tmp_path, **servers) as world:
        before = break_template(world)
        async with world.worker():
            await world.publish("order.shipped", {"phone": "+33671000001"})
            for times in range(1, 5):
                await letters(world, times)
                told = (await world.command("dead-letters", "replay", "--yes", "--anyway")).stdout
                assert ("1 quarantined" if times == 4 else "1 replayed") in told
        (world.config / TEMPLATE).write_text(before)
        told = (await world.command("dead-letters", "replay", "--yes", "--quarantined")).stdout
        async with world.worker():
            outcomes = await world.outcomes(1)

    assert "1 replayed" in told
    assert list(terminal(outcomes).values()) == [{"accepted"}]


@REAL_SERVERS
async def test_what_has_expired_stays_expired_unless_a_new_message_is_asked_for_and_codes_never_go(
    servers, tmp_path
) -> None:
    async with open_world(tmp_path, **servers) as world:
        before = break_template(world)
        change(world.config / TEMPLATE, "time_to_live: PT48H", "time_to_live: PT12S")
        codes = world.config / "templates/otp_code.yaml"
        change(codes, "time_to_live: PT5M", "time_to_live: PT12S")
        change(codes, 'sample: "482913"', 'sample: "4829", longest: 4')
        fits = (
            "4829 est votre code BOUTIQUE, valable 60 min. Ne le communiquez à personne : nous ne le demandons jamais."
        )
        change(codes, "demandons jamais.", "demandons jamais." + "." * (159 - len(fits)))
        async with world.worker():
            await world.publish("order.shipped", {"phone": "+33671000001"})
            await world.publish("otp.requested", {"phone": "+33671000002"}, code="ABCDEF12", valid_minutes=60)
            await letters(world, 1)
            await letters(world, 1, "urgent")
        for _ in range(40):
            told = (await world.command("dead-letters", "replay")).stdout
            if "has expired" in told and "2 letters = 2 has expired" in told:
                break
        (world.config / TEMPLATE).write_text(before)
        stays = (await world.command("dead-letters", "replay", "--yes")).stdout
        anew = (await world.command("dead-letters", "replay", "--yes", "--as-new")).stdout
        async with world.worker():
            outcomes = await world.outcomes(2)

    assert "2 letters = 2 has expired" in stays
    assert "1 replayed" in anew
    assert "codes and marketing never go anew" in anew
    assert [text.to for text in world.provider.sent] == ["+33671000001"]
    # Two letters told of, of which one ended when a new message went in its place.
    assert sorted(map(sorted, terminal(outcomes).values())) == [[], ["accepted"], ["expired"]]


@REAL_SERVERS
async def test_a_flood_of_one_template_s_letters_holds_it_until_it_is_released_and_nothing_else(
    servers, tmp_path
) -> None:
    async with open_world(tmp_path, **servers) as world:
        before = break_template(world)
        phones = [f"+336710{number:05}" for number in range(60)]
        async with world.worker():
            for phone in phones:
                await world.publish("order.shipped", {"phone": phone})
            await letters(world, 20)
            for phone in phones[:5]:
                await world.publish("order.delivered", {"phone": phone})
            await world.outcomes(5)
            await world.read("sms.outcomes", lambda found: sum(b'"flood"' in one.value for one in found) >= 1, 20)
            held = (await world.command("dead-letters", "release")).stdout
        gone_bad = len(await world.read("sms.transactional.dlq", lambda _: False, 3))
        (world.config / TEMPLATE).write_text(before)
        async with world.worker():
            await world.publish("order.shipped", {"phone": phones[0]}, event_id="while held")
            await world.command("dead-letters", "release", "template:order_shipped")
            told = (await world.command("dead-letters", "replay", "--yes")).stdout
            outcomes = await world.outcomes(66, 90)

    assert held.split() == ["template:order_shipped", "text_too_long"]
    assert 20 <= gone_bad <= 60
    assert f"{gone_bad} letters = {gone_bad} replayed" in told
    assert {tuple(kinds) for kinds in terminal(outcomes).values()} == {("accepted",)}
    assert len(outcomes) == 66
    assert world.provider.summary()["texted_twice"] == []


@REAL_SERVERS
async def test_what_a_bad_deploy_suppressed_goes_again_and_what_was_sent_does_not(servers, tmp_path) -> None:
    async with open_world(tmp_path, **servers) as world:
        worker = world.config / "worker.yaml"
        before = worker.read_text()
        change(worker, "mode: live", "mode: live\n  countries: [BE]")
        async with world.worker():
            for number in range(3):
                await world.publish("order.shipped", {"phone": f"+3367100000{number}"})
            bad = await world.outcomes(3)
        Path(worker).write_text(before)
        rehearsed = (await world.command("outcomes", "redrive", "--outcome", "suppressed")).stdout
        told = (await world.command("outcomes", "redrive", "--outcome", "suppressed", "--yes")).stdout
        again = (await world.command("outcomes", "redrive", "--outcome", "suppressed", "--yes")).stdout
        async with world.worker():
            await world.read("sms.outcomes", lambda found: sum(b'"sms.accepted"' in one.value for one in found) >= 3)
        nothing = (await world.command("outcomes", "redrive", "--outcome", "suppressed", "--yes")).stdout
        refused = await world.command("outcomes", "redrive", "--outcome", "accepted", "--yes", expect=2)

    assert {o["reason"] for its in bad.values() for o in its} == {"country_not_served"}
    assert rehearsed.splitlines() == [
        "3  order_shipped  country_not_served",
        "3  today it would be sent",
        "3 messages = 3 redriven; 3 segments",
    ]
    assert "3 messages = 3 redriven" in told
    assert "3 messages = 3 goes again already" in again
    assert nothing.strip() == "0 messages = 0; 0 segments"
    assert "there are rejected, suppressed" in refused.stderr
    assert len(world.provider.sent) == 3
    assert max(world.provider.requests.values()) == 1
