"""A worker in a process of its own: how it starts, ends, dies and comes back; and what it never says."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from tests import builders
from tests.conftest import REAL_SERVERS
from tests.unit.test_configuration import change
from tests.world import CREDENTIALS, World, open_world, terminal
from worker.demo.broker import free_port
from worker.demo.processes import open_process
from worker.sandbox.provider import Behaviour, SandboxProvider
from worker.sandbox.server import open_sandbox
from worker.state.schema import migrate

COMMAND = [sys.executable, "-m", "worker"]


async def answers(world: World, page: str) -> int | None:
    """The status of a health page; None if nobody listens any more."""
    async with aiohttp.ClientSession() as session:
        try:
            async with session.get(f"http://127.0.0.1:{world.port()}/{page}") as response:
                return response.status
        except aiohttp.ClientConnectorError:
            return None


async def test_a_pods_life_start_ready_sigterm_under_load_gone_loses_nothing(servers, tmp_path) -> None:
    async with open_world(tmp_path, **servers, behaviour=Behaviour(latency_ms=300)) as world:
        await world.people(2)
        async with world.process() as process:
            assert await answers(world, "healthz") == 200
            async with asyncio.timeout(30):
                while await answers(world, "readyz") != 200:  # until each of its consumers has its partitions
                    await asyncio.sleep(0.1)
            for _ in range(40):
                await world.publish("order.shipped")
            while not world.provider.requests:
                await asyncio.sleep(0.01)
            process.terminate()
            assert await asyncio.wait_for(process.wait(), 25) == 0
            assert await answers(world, "healthz") is None
        async with world.process():
            outcomes = await world.outcomes(40)

    assert {tuple(kinds) for kinds in terminal(outcomes).values()} == {("accepted",)}
    assert world.provider.summary()["texted_twice"] == []
    assert max(world.provider.requests.values()) == 1


@REAL_SERVERS
@pytest.mark.parametrize("idempotency", [True, False], ids=["provider with keys", "provider without keys"])
async def test_kill_9_in_mid_flow_and_a_restart_give_every_message_one_outcome_and_text_nobody_twice(
    servers, tmp_path, idempotency: bool
) -> None:
    behaviour = Behaviour(latency_ms=150, lost_rate=0.05, idempotency=idempotency)
    accounts = {"http_deadline_s": 2, "idempotency_h": 24 if idempotency else 0}
    stage = {**servers, "max_in_flight": 30, "accounts": accounts}
    async with open_world(tmp_path, **stage, behaviour=behaviour) as world:
        await world.people(50)
        async with world.process() as process:
            for number in range(300):
                await world.publish("order.shipped", {"contact_id": f"c-{number % 50}"}, order_id=str(number))
            while world.provider.requests.total() < 60:
                await asyncio.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            await process.wait()
        before = world.provider.requests.total()
        async with world.process():
            outcomes = await world.outcomes(300, 90)

    ended = terminal(outcomes)
    assert 60 <= before < 300
    assert len(ended) == 300
    assert all(len(kinds) == 1 for kinds in ended.values())
    kinds = [kind for each in ended.values() for kind in each]
    assert world.provider.summary()["texted_twice"] == []
    assert kinds.count("accepted") <= len(world.provider.texts)
    if idempotency:
        assert set(kinds) == {"accepted"}
        assert len(world.provider.texts) == 300
    else:
        assert set(kinds) <= {"accepted", "unknown"}
        assert max(world.provider.requests.values()) == 1


@pytest.mark.kafka
@pytest.mark.postgres
async def test_intakes_run_apart_and_codes_too_wait_at_first_until_contacts_are_known(
    kafka, postgres, tmp_path
) -> None:
    url = postgres.new_database()
    await asyncio.to_thread(migrate, url)
    await asyncio.to_thread(kafka.forget)
    async with open_world(tmp_path, kafka.address, url, embedded=False) as world:
        await world.people(2)
        for event_type in ("otp.requested", "order.shipped", "promotion.announced"):
            await world.publish(event_type, {"contact_id": "c-1"})
        log = tmp_path / "urgent.log"
        urgent = [*COMMAND, "run", "--config", world.config, "--role", "router", "--intake", "urgent"]
        with log.open("ab") as output:
            async with open_process(urgent, environment=CREDENTIALS, output=output) as process:
                while b"worker.waits_for_contacts" not in log.read_bytes():
                    assert process.returncode is None, log.read_text()
                    await asyncio.sleep(0.05)
                await asyncio.sleep(2)
                assert b"worker.running" not in log.read_bytes()
                others = [f"--intake={its}" for its in ("control", "normal", "bulk")]
                async with world.process("--role", "router", *others), world.process("--role", "sender"):
                    outcomes = await world.outcomes(3)

    assert {tuple(kinds) for kinds in terminal(outcomes).values()} == {("accepted",)}
    assert len(outcomes) == 3
    running = next(line for line in log.read_text().splitlines() if "worker.running" in line)
    assert json.loads(running)["runners"] == ["urgent"]


def test_a_lane_for_a_process_that_sends_nothing_is_refused(tmp_path) -> None:
    said = subprocess.run(
        [*COMMAND, "run", "--role", "router", "--lane", "urgent"], capture_output=True, text=True, timeout=60
    )

    assert said.returncode == 2
    assert "--role sender" in said.stderr


@pytest.mark.kafka
@pytest.mark.postgres
async def test_stopping_postgresql_for_30_seconds_holds_the_flow_and_loses_nothing(kafka, postgres, tmp_path) -> None:
    url = postgres.new_database()
    await asyncio.to_thread(migrate, url)
    await asyncio.to_thread(kafka.forget)
    async with open_world(
        tmp_path, kafka.address, url, embedded=False, rates={"transactional": 40.0, "marketing": 40.0}
    ) as world:
        await world.people(20)
        async with world.process() as process:
            for number in range(150):
                await world.publish("order.shipped", {"contact_id": f"c-{number % 20}"}, order_id=str(number))
            while world.provider.requests.total() < 30:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(postgres.stop)
            try:
                await asyncio.sleep(3)
                held_at = world.provider.requests.total()
                await asyncio.sleep(27)
                assert world.provider.requests.total() == held_at
                assert process.returncode is None
            finally:
                await asyncio.to_thread(postgres.start)
            outcomes = await world.outcomes(150, 60)
            assert process.returncode is None

    assert {tuple(kinds) for kinds in terminal(outcomes).values()} == {("accepted",)}
    assert len(outcomes) == 150
    assert world.provider.summary()["texted_twice"] == []


@REAL_SERVERS
async def test_stopping_the_provider_for_30_seconds_holds_the_flow_and_loses_nothing(servers, tmp_path) -> None:
    provider, port = SandboxProvider(), free_port()
    async with open_world(tmp_path, **servers, rates={"transactional": 40.0, "marketing": 40.0}) as world:
        change(world.config / "providers.yaml", world.stage.provider, f"http://127.0.0.1:{port}")
        await world.people(20)
        async with world.process() as process:
            async with open_sandbox(provider, "127.0.0.1", port):
                for number in range(150):
                    await world.publish("order.shipped", {"contact_id": f"c-{number % 20}"}, order_id=str(number))
                while provider.requests.total() < 30:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(30)
            assert process.returncode is None
            async with open_sandbox(provider, "127.0.0.1", port):
                outcomes = await world.outcomes(150, 60)

    assert {tuple(kinds) for kinds in terminal(outcomes).values()} == {("accepted",)}
    assert len(provider.texts) == 150
    assert provider.summary()["texted_twice"] == []


@pytest.mark.parametrize(
    ("file", "before", "after", "told"),
    [
        pytest.param(
            "routes.yaml", "event: order.delivered,", "event: order.deliverd,", "routes[4].event", id="a bad route"
        ),
        pytest.param("worker.yaml", "mode: live", "mode: real", "delivery.mode", id="a bad setting"),
    ],
)
def test_a_bad_configuration_exits_3_with_the_list_of_its_mistakes(
    tmp_path, file: str, before: str, after: str, told: str
) -> None:
    config = Path(shutil.copytree(builders.SHIPPED, tmp_path / "config"))
    change(config / "worker.yaml", "mode: simulate", "mode: live")
    change(config / file, before, after)

    done = subprocess.run([*COMMAND, "run", "--config", config], capture_output=True, text=True, timeout=60)

    assert done.returncode == 3
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_credential_exits_3(tmp_path) -> None:
    config = Path(shutil.copytree(builders.SHIPPED, tmp_path / "config"))
    change(config / "worker.yaml", "mode: simulate", "mode: live")
    change(config / "worker.yaml", ".data/state.db", f"{tmp_path}/state.db")
    environment = {"PATH": "/usr/bin", "SMS_WORKER_DATA_DIR": str(tmp_path)}

    done = subprocess.run(
        [*COMMAND, "run", "--config", config], capture_output=True, text=True, timeout=60, env=environment
    )

    assert done.returncode == 3
    assert "OCTOPUSH_TRANSACTIONAL_LOGIN" in done.stderr
    assert "Traceback" not in done.stderr


async def test_nothing_that_leaves_the_worker_names_a_person(servers, tmp_path) -> None:
    """Logs at DEBUG, metrics, keys, outcomes and dead-letter headers, after every kind of success and failure."""
    name, number, code = "Rumpelstiltskin", "33671555001", "739104"
    who = {"contact_id": "c-secret"}
    async with open_world(tmp_path, **servers) as world:
        await world.publish("contact.updated", who, contact_id="c-secret", phone=f"+{number}", first_name=name)
        await world.publish("contact.updated", who, contact_id="c-bad", phone=number, first_name=name)
        async with world.process("--log-level", "DEBUG"):
            await world.publish("order.shipped", who)
            await world.publish("otp.requested", {"phone": f"+{number}"}, code=code)
            await world.publish("order.shipped", {"phone": "+33600001340"})
            await world.publish("order.delivered", {"contact_id": "c-bad"})
            bad = builders.binary(
                "otp.requested", builders.data("otp.requested", {"phone": f"+{number}", "zone": 5}, code=code), "bad"
            )
            await world.send("identity.events", bad["value"], bad["headers"], key=f"+{number}".encode())
            outcomes = await world.outcomes(3)
            metrics = await world.metrics()
            letters = await world.read("sms.transactional.dlq", lambda found: len(found) >= 1)
            letters += await world.read("sms.router.dlq", lambda found: len(found) >= 1)
            lanes = [
                r
                for lane in ("urgent", "transactional")
                for r in await world.read(f"sms.{lane}", lambda found: len(found) >= 1)
            ]

    assert len(outcomes) >= 3
    said = {
        "log": world.log.read_text(),
        "metrics": metrics,
        "outcomes": json.dumps(outcomes),
        "dead letters": " ".join(f"{r.key} {r.value} {r.headers}" for r in letters),
        "lanes": " ".join(f"{r.key} {r.value} {r.headers}" for r in lanes),
    }
    for where, text in said.items():
        for secret in (name, number[2:], code, "votre commande", "est votre code", "key\n"):
            assert secret not in text, f"{secret} in {where}"
        assert not re.search(r"\+336\d{8}", text), where
    assert CREDENTIALS["SANDBOX_KEY"] + '"' not in said["log"]


def test_the_demo_ends_by_itself_adds_up_and_leaves_nothing_running(tmp_path) -> None:
    done = subprocess.run(
        [*COMMAND, "demo", "--folder", tmp_path / "demo"], capture_output=True, text=True, timeout=120
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Everything adds up." in done.stdout
    assert "nobody was texted twice" in done.stdout
    for reason in (
        "no_consent",
        "consent_revoked",
        "blocked",
        "country_not_served",
        "malformed_json",
        "recipient_refused",
    ):
        assert reason in done.stdout
    assert _running_in(tmp_path) == []


def test_ctrl_c_in_the_middle_of_the_demo_leaves_nothing_running(tmp_path) -> None:
    demo = subprocess.Popen([*COMMAND, "demo", "--folder", tmp_path / "demo"], stdout=subprocess.PIPE, text=True)
    for line in demo.stdout:
        if line.startswith("a campaign"):
            break
    assert _running_in(tmp_path) != []

    demo.send_signal(signal.SIGINT)

    assert demo.wait(timeout=40) == 130
    assert _running_in(tmp_path) == []


def _running_in(folder: Path) -> list[str]:
    """Return the command lines of processes that name *folder*, and of brokers and sandboxes that this test started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode()
            links = {str(link.resolve()) for link in (path.parent / "fd").iterdir()}
        except OSError:
            continue
        if int(path.parent.name) != os.getpid() and any(str(folder) in text for text in (command, *links)):
            found.append(command)
    return found


def test_a_fresh_start_without_kafka_says_so_in_a_line_and_exits_1(tmp_path) -> None:
    environment = {
        **os.environ,
        "SMS_WORKER_DATA_DIR": str(tmp_path / "new"),
        "SMS_WORKER_DATABASE__URL": f"sqlite+aiosqlite:///{tmp_path}/new/state.db",
        "SMS_WORKER_KAFKA__BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
        "SMS_WORKER_WEB__PORT": "0",
        "SMS_WORKER_START_PATIENCE_S": "2",
    }

    done = subprocess.run([*COMMAND, "run"], capture_output=True, text=True, timeout=60, env=environment)

    assert done.returncode == 1
    assert f"BrokerUnavailable: {environment['SMS_WORKER_KAFKA__BOOTSTRAP_SERVERS']} does not answer" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_that_is_away_is_said_in_a_line(tmp_path) -> None:
    environment = {**os.environ, "SMS_WORKER_DATABASE__URL": f"postgresql+asyncpg://sms@127.0.0.1:{free_port()}/sms"}

    done = subprocess.run([*COMMAND, "db", "upgrade"], capture_output=True, text=True, timeout=60, env=environment)

    assert done.returncode == 1
    assert "StateUnavailable: the database does not answer" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.kafka
def test_a_start_without_topics_says_how_to_make_them_and_exits_3(kafka, tmp_path) -> None:
    kafka.forget()
    environment = {
        **os.environ,
        "SMS_WORKER_DATA_DIR": str(tmp_path),
        "SMS_WORKER_DATABASE__URL": f"sqlite+aiosqlite:///{tmp_path}/state.db",
        "SMS_WORKER_KAFKA__BOOTSTRAP_SERVERS": kafka.address,
    }

    done = subprocess.run([*COMMAND, "run"], capture_output=True, text=True, timeout=60, env=environment)

    assert done.returncode == 3
    assert "kafka: sms.urgent: is missing; run `sms-worker topics create`" in done.stderr
