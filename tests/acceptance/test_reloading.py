"""Routes, templates, policy and keys change while the worker runs, and every process says what it runs."""

import asyncio
import json
import time

import aiohttp

from tests.acceptance.test_people import audit
from tests.conftest import REAL_SERVERS
from tests.world import World, open_world
from worker.servers import DatabaseSettings
from worker.state.database import open_database
from worker.state.tables import facts


async def ready(world: World) -> dict:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{world.port()}/readyz") as response,
    ):
        assert response.status == 200
        return await response.json()


async def until(world: World, said: str, seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while said not in world.log.read_text():
            await asyncio.sleep(0.1)


@REAL_SERVERS
async def test_a_new_set_is_adopted_whole_and_a_bad_one_is_refused_and_told(servers, tmp_path) -> None:
    async with open_world(tmp_path, **servers) as world:
        template, policy = world.config / "templates" / "order_shipped.yaml", world.config / "policy.yaml"
        await world.publish("contact.updated", {"contact_id": "c-0"}, contact_id="c-0", phone="+33671000000")
        async with world.process():
            await world.publish("order.shipped", {"contact_id": "c-0"})
            await world.outcomes(1)
            before = await ready(world)
            ran = await world.command("config", "status")

            good = template.read_text()
            template.write_text(good.replace("{{ order }}", "{{ ordre }}"))
            await until(world, "config.refused")
            await world.publish("order.shipped", {"contact_id": "c-0"})
            await world.outcomes(2)
            refusing = await ready(world)
            shown = await world.command("config", "status", expect=1)
            await world.command("suppress", "add", "--phone", "-", "--reason", "complaint", said="+33671000077")
            await world.command("cancel", "--campaign", "none", expect=1)
            template.write_text(good.replace("BOUTIQUE", "LABOUTIQUE").replace("Bonjour", "Salut"))
            policy.write_text(policy.read_text() + "brands: [LABOUTIQUE, BOUTIQUE]\n")
            await until(world, "config.adopted")
            await world.publish("order.shipped", {"contact_id": "c-0"})
            outcomes = await world.outcomes(3)
            after = await ready(world)
            worker = world.config / "worker.yaml"
            worker.write_text(worker.read_text() + "drain_s: 19\n")
            await until(world, "needs_restart")
            async with asyncio.timeout(40):  # until the process has said so
                while True:
                    status = json.loads((await world.command("config", "status", "--json", expect=1)).stdout)
                    if status["processes"][0]["refused"]:
                        break
            told = await world.metrics()

    assert "1 processes" in ran.stderr
    assert "1 processes" in shown.stderr  # whatever somebody is writing into templates
    assert "ordre" in shown.stderr
    assert before["configuration"] == refusing["configuration"] != after["configuration"]
    assert refusing["ready"]
    assert "ordre" in refusing["refused"][0]
    assert after["refused"] == []
    texts = [one.text for one in world.provider.sent]
    assert ["Salut" in text for text in texts] == [False, False, True]
    versions = [o["template_version"] for its in outcomes.values() for o in its]
    policies = [o["policy_version"] for its in outcomes.values() for o in its]
    assert versions[0] == versions[1] != versions[2]
    assert policies[0] == policies[1] != policies[2]
    assert status["processes"][0]["refused"]
    assert status["processes"][0]["configuration"] == after["configuration"] != status["configuration"]
    assert 'sms_config_reloads_total{result="adopted"} 1.0' in told
    assert f'sms_config_info{{configuration="{after["configuration"]}"}} 1.0' in told
    assert "sms_config_refused 1.0" in told


@REAL_SERVERS
async def test_the_ring_rotates_under_a_running_worker_and_nobody_is_forgotten(servers, tmp_path) -> None:
    async with open_world(tmp_path, **servers) as world:
        ring = tmp_path / "key-ring.json"
        await world.people(5)
        async with world.process():
            await world.publish("promotion.announced", recipients=[{"contact_id": f"c-{n}"} for n in range(5)])
            await world.outcomes(5)
            before = await world.command("keys", "status")
            done = await world.command("keys", "rotate", "--name", "fresh")
            await world.publish("promotion.announced", recipients=[{"contact_id": f"c-{n}"} for n in range(5)])
            await world.publish("otp.requested", {"phone": "+33671000099"})
            await world.outcomes(11)
            taken = await world.command("keys", "rotate", "--name", "fresh", expect=3)
            early = await world.command("keys", "rotate", "--rewrap-only", "--drop", expect=3)
            async with open_database(DatabaseSettings(url=world.stage.database), tool=True) as database:
                async with database.transaction() as connection:
                    mine = facts.update().where(facts.c.name == "ring-key:fresh")
                    await connection.execute(mine.values(value=str(time.time() - 90_000)))
            dropped = await world.command("keys", "rotate", "--rewrap-only", "--drop")
            await world.publish("order.shipped", {"contact_id": "c-0"})
            outcomes = await world.outcomes(12)
            after = json.loads((await world.command("keys", "status", "--json")).stdout)
            first, *_ = [one for one in await audit(world, "keys.rotate") if one["ended"] == "done"]
        assert list(json.loads(ring.read_text())["keys"]) == ["fresh"]
        async with world.process():  # and a new process needs no old key
            await world.publish("order.shipped", {"contact_id": "c-1"})
            outcomes = await world.outcomes(13)

    accepted = sum(o["outcome"] == "accepted" for its in outcomes.values() for o in its)
    assert accepted == 13
    assert "key ring, development" in before.stdout
    assert "account octopush-transactional: since" in before.stdout
    assert "never rotated" in before.stderr
    assert int(done.stderr.split(" data keys")[0].split()[-1]) >= 6
    assert "give another name" in taken.stderr
    assert "old keys are dropped after 24" in early.stderr
    assert "dropped development" in dropped.stderr
    assert {one["name"] for one in after if one["kind"] == "ring"} == {"fresh"}
    assert first["current"] == "fresh"


@REAL_SERVERS
async def test_an_accounts_key_is_taken_over_from_its_file(servers, tmp_path) -> None:
    key, login = tmp_path / "key", tmp_path / "login"
    key.write_text("s3cr3t-one\n")
    login.write_text("transactional\n")
    stage = {"accounts": {"credentials": {"login_file": str(login), "key_file": str(key)}}}
    async with open_world(tmp_path, **servers, **stage) as world:
        async with world.process():
            await world.publish("otp.requested", {"phone": "+33671000001"})
            await world.outcomes(1)
            first = json.loads((await world.command("keys", "status", "--json")).stdout)
            key.write_text("")  # while it is being written
            await until(world, "credentials.unreadable")
            key.write_text("s3cr3t-two\n")
            await until(world, "credentials.renewed")
            await world.publish("otp.requested", {"phone": "+33671000002"})
            await world.outcomes(2)
            second = json.loads((await world.command("keys", "status", "--json")).stdout)
            key.write_text("revoked\n")  # which the provider does not take
            async with asyncio.timeout(30):
                while (
                    world.log.read_text().count("credentials.renewed") < 3
                ):  # two accounts, and then one of them at least
                    await asyncio.sleep(0.1)
            await world.publish("otp.requested", {"phone": "+33671000003"})
            await until(world, "bad_credentials")

    since = [next(one["since"] for one in keys if one["name"] == "octopush-transactional") for keys in (first, second)]
    assert since[0] < since[1]
    assert "s3cr3t" not in world.log.read_text()
