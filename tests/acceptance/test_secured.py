"""Kafka behind SASL_SSL and PostgreSQL behind TLS: the worker proves and is proved, and takes new passwords from files."""

import asyncio
import datetime
import ipaddress
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.builders import SHIPPED
from tests import kafka as kafkas
from tests import postgres as postgreses
from tests.acceptance.test_pausing import heard
from tests.conftest import require
from tests.kafka import JARS, Kafka
from tests.postgres import Postgres
from tests.world import open_world
from worker.environment import load_settings
from worker.errors import BrokerUnavailable, ConfigurationError
from worker.kafka.topics import open_admin
from worker.state.schema import migrate
from worker.servers import DatabaseSettings

SECURED = """
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{{controller}}
listeners=SASL_SSL://127.0.0.1:{{port}},INNER://127.0.0.1:{{inner}},CONTROLLER://127.0.0.1:{{controller}}
advertised.listeners=SASL_SSL://127.0.0.1:{{advertised}},INNER://127.0.0.1:{{inner}},CONTROLLER://127.0.0.1:{{controller}}
controller.listener.names=CONTROLLER
inter.broker.listener.name=INNER
listener.security.protocol.map=SASL_SSL:SASL_SSL,INNER:PLAINTEXT,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_worker="one";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
ssl.keystore.type=PEM
ssl.keystore.location={store}
ssl.truststore.type=PEM
ssl.truststore.location={ca}
listener.name.sasl_ssl.ssl.client.auth=required
log.dirs={{data}}/log
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=100
auto.create.topics.enable=false
"""


def certificates(folder: Path) -> Path:
    """Make an authority and a certificate for 127.0.0.1; return the folder of ca.pem, cert.pem, key.pem, store.pem."""
    now, folder = datetime.datetime.now(datetime.UTC), folder / "tls"
    folder.mkdir(exist_ok=True)

    def signed(name: str, public, issuer: str, by, *, is_ca: bool) -> x509.Certificate:
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
            .public_key(public).serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )  # fmt: skip
        if not is_ca:
            host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
            made = made.add_extension(host, critical=False)
        return made.sign(by, hashes.SHA256())

    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = signed("tests", authority.public_key(), "tests", authority, is_ca=True)
    certificate = signed("server", key.public_key(), "tests", authority, is_ca=False)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files = {
        "ca.pem": ca.public_bytes(pem), "cert.pem": certificate.public_bytes(pem), "key.pem": private,
        "store.pem": private + certificate.public_bytes(pem),
    }  # fmt: skip
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "key.pem").chmod(0o600)
    return folder


@pytest.fixture
def tls(tmp_path) -> Path:
    return certificates(tmp_path)


@pytest.fixture
def secured_kafka(tmp_path, tls):
    require(kafkas.missing())
    users = [f"SCRAM-SHA-{bits}=[name=worker,password=one]" for bits in (256, 512)]
    broker = Kafka(
        tmp_path / "kafka", properties=SECURED.format(store=tls / "store.pem", ca=tls / "ca.pem"), users=users
    )
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def secured_postgres(tls):
    require(postgreses.missing())
    folder = Path(tempfile.mkdtemp(prefix="sms-pg-"))  # pytest's own folders are root's alone
    server = Postgres(folder, f"-c ssl=on -c ssl_cert_file={folder}/cert.pem -c ssl_key_file={folder}/key.pem")
    server.take_certificate(tls)
    server.start()
    yield server
    server.stop("immediate")
    shutil.rmtree(folder, ignore_errors=True)


def files(tls: Path) -> dict[str, str]:
    """Whom a client trusts, and what it shows."""
    return {"ca_file": str(tls / "ca.pem"), "cert_file": str(tls / "cert.pem"), "key_file": str(tls / "key.pem")}


def set_scram(broker: Kafka, password: str) -> None:
    """Give the user another password, as an administrator does."""
    command = ["java", "-cp", f"{JARS}/*", "kafka.admin.ConfigCommand", "--bootstrap-server", f"127.0.0.1:{broker.inner}",
               "--alter", "--add-config", f"SCRAM-SHA-512=[password={password}]", "--entity-type", "users",
               "--entity-name", "worker"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@pytest.mark.kafka
@pytest.mark.postgres
async def test_a_worker_speaks_sasl_ssl_and_tls_and_takes_new_passwords_and_certificates_from_their_files(
    secured_kafka, secured_postgres, tls, tmp_path
) -> None:
    url = secured_postgres.new_database()
    secured_postgres.require_passwords("sms", "one")
    for name in ("kafka", "database"):
        (tmp_path / f"{name}-password").write_text("one\n")
    database = {"url": url, "password_file": str(tmp_path / "database-password"), "ca_file": str(tls / "ca.pem")}
    its = DatabaseSettings(**database)
    await asyncio.to_thread(migrate, url, its.connect_args())
    kafka = {
        "bootstrap_servers": secured_kafka.address, "security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512",
        "username": "worker", "password_file": str(tmp_path / "kafka-password"), **files(tls),
        "session_timeout_s": 6, "commit_every_s": 0.2,
    }  # fmt: skip
    inner = f"127.0.0.1:{secured_kafka.inner}"
    async with open_world(
        tmp_path, inner, url, embedded=False, settings={"kafka": kafka, "database": database}
    ) as world:
        await world.people(2)
        async with world.process():
            await world.publish("order.shipped", {"contact_id": "c-0"})
            before = await world.outcomes(1)
            told = await world.metrics()
            await asyncio.to_thread(set_scram, secured_kafka, "two")
            await asyncio.to_thread(secured_postgres.require_passwords, "sms", "two")
            for name in ("kafka", "database"):
                (tmp_path / f"{name}-password").write_text("two\n")
            await heard(world, "kafka.password_renewed")
            await asyncio.to_thread(
                certificates, tmp_path
            )  # of another authority: the old one's are of no use any more
            await asyncio.to_thread(secured_postgres.take_certificate, tls)
            await heard(world, "kafka.certificates_renewed")
            await asyncio.to_thread(secured_postgres.end_sessions)
            await asyncio.to_thread(secured_kafka.stop)
            await asyncio.to_thread(secured_kafka.start)
            await world.publish("order.shipped", {"contact_id": "c-1"})
            after = await world.outcomes(2)
            (tls / "ca.pem").unlink()  # between two versions of it: what was trusted last is trusted still
            await asyncio.to_thread(secured_postgres.end_sessions)
            await world.publish("order.shipped", {"contact_id": "c-0"}, order_id="third")
            with_no_file = await world.outcomes(3)
        log = world.log.read_text()

    assert [its[-1]["outcome"] for its in before.values()] == ["accepted"]
    for name in ("kafka.ca_file", "kafka.cert_file", "database.ca_file"):
        (ends,) = re.findall(rf'sms_certificate_expires_timestamp_seconds\{{name="{name}"\}} (\S+)', told)
        assert 80_000 < float(ends) - time.time() <= 86_400
    assert sorted(its[-1]["outcome"] for its in after.values()) == ["accepted", "accepted"]
    assert sorted(its[-1]["outcome"] for its in with_no_file.values()) == ["accepted"] * 3
    assert "two" not in json.dumps([line for line in log.splitlines() if "password" in line])


def secured(broker: Kafka, tls: Path, **changes: str | None) -> dict[str, str | None]:
    """Settings of a client that is let in, but for *changes*."""
    return {
        "bootstrap_servers": broker.address, "security_protocol": "SASL_SSL", "username": "worker", "password": "one",
        **files(tls), **changes,
    }  # fmt: skip


@pytest.mark.kafka
async def test_each_mechanism_carries_events_to_their_outcomes_and_what_is_wrong_is_no_way_in(
    secured_kafka, tls, tmp_path
) -> None:
    inner, ended = f"127.0.0.1:{secured_kafka.inner}", list[str]()
    for number, mechanism in enumerate(("PLAIN", "SCRAM-SHA-256")):
        (folder := tmp_path / mechanism).mkdir()
        url = f"sqlite+aiosqlite:///{folder}/state.db"
        await asyncio.to_thread(migrate, url)
        kafka = {**secured(secured_kafka, tls, sasl_mechanism=mechanism), "commit_every_s": 0.2}
        async with open_world(folder, inner, url, embedded=False, settings={"kafka": kafka}) as world:
            async with world.process():
                await world.publish("otp.requested", {"phone": "+33671000001"}, event_id=f"e-{mechanism}")
                outcomes = await world.outcomes(number + 1)
        ended = [its[-1]["outcome"] for its in outcomes.values()]

    assert ended == ["accepted", "accepted"]
    for changes, said in (
        ({"sasl_mechanism": "SCRAM-SHA-512", "password": "wrong"}, "does not answer"),
        ({"ca_file": None}, "does not answer"),
        ({"ca_file": "nowhere.pem"}, "No such file"),
        ({"cert_file": None, "key_file": None}, "does not answer"),
    ):
        settings = load_settings(SHIPPED / "worker.yaml", kafka=secured(secured_kafka, tls, **changes))
        with pytest.raises((BrokerUnavailable, ConfigurationError), match=said):
            async with open_admin(settings.kafka):
                pass
