"""
A one-node Apache Kafka (KRaft) on loopback, its jars by Maven from deploy/kafka/pom.xml.

    python -m tests.kafka --port 9092 --data .data/kafka
"""

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient

from worker.demo.broker import free_port

ROOT = Path(__file__).parent.parent
POM = ROOT / "deploy" / "kafka" / "pom.xml"
JARS = ROOT / ".data" / "kafka-jars"
DEPENDENCY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
CLUSTER = "c21zLXdvcmtlci1rcmFmdA"  # any 16 bytes in base64
PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{advertised},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}/log
num.partitions=6
offsets.topic.num.partitions=8
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=100
group.min.session.timeout.ms=1000
auto.create.topics.enable=false
"""


def missing() -> str | None:
    """Return what is missing to run Kafka here, or None."""
    absent = [name for name in ("java", "mvn") if shutil.which(name) is None]
    return f"Apache Kafka needs {' and '.join(absent)}" if absent else None


def jars() -> str:
    """Return the class path, fetched by Maven on first use."""
    stamp = JARS / ".complete"
    if not stamp.exists() or stamp.stat().st_mtime < POM.stat().st_mtime:
        print("kafka: fetching the jars by Maven", file=sys.stderr)
        command = ["mvn", "-q", "-B", "--color=never", "-f", str(POM), DEPENDENCY_PLUGIN, f"-DoutputDirectory={JARS}"]
        subprocess.run(command, check=True, stdout=sys.stderr)
        stamp.touch()
    return f"{JARS}/*"


class Kafka:
    """A broker that can be stopped and started again on its data."""

    def __init__(
        self, data: Path, port: int | None = None, advertised: int | None = None, *, properties: str = PROPERTIES,
        users: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.data = data.absolute()
        self.port = port or free_port()
        self.advertised = advertised or self.port
        self.address = f"127.0.0.1:{self.advertised}"
        self._process: subprocess.Popen[bytes] | None = None
        self._text, self._users, self.inner = properties, users, free_port()
        self._properties = self.data / "server.properties"
        self._format()

    def _format(self) -> None:
        classes = jars()
        self.data.mkdir(parents=True, exist_ok=True)
        text = self._text.format(
            port=self.port, advertised=self.advertised, controller=free_port(), data=self.data, inner=self.inner
        )
        self._properties.write_text(text)
        if not (self.data / "log" / "meta.properties").exists():
            arguments = ["format", "-t", CLUSTER, "-c", str(self._properties), "--standalone"]
            arguments += [word for user in self._users for word in ("--add-scram", user)]
            subprocess.run(
                ["java", "-cp", classes, "kafka.tools.StorageTool", *arguments], check=True, stdout=subprocess.DEVNULL
            )

    def start(self, deadline_s: float = 60) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.port))
            except OSError:
                raise SystemExit(
                    f"port {self.port} is taken; stop what listens there, or give another --port"
                ) from None
        log = (self.data / "kafka.out").open("ab")
        heap = ["-Xms256m", "-Xmx512m", "-XX:+UseG1GC"]
        command = ["java", *heap, "-cp", jars(), "kafka.Kafka", str(self._properties)]
        self._process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=os.setsid)
        ends = time.monotonic() + deadline_s
        while time.monotonic() < ends and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.1)
        raise RuntimeError(f"Kafka did not start; see {self.data / 'kafka.out'}")

    def forget(self) -> None:
        """Delete every topic and group, so that the next test begins anew."""
        asyncio.run(_forget(self.address))

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            try:
                self._process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None


async def _forget(address: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        topics = [name for name in await admin.list_topics() if not name.startswith("__")]
        if topics:
            await admin.delete_topics(topics)
        for _ in range(100):
            left = [name for name in await admin.list_topics() if not name.startswith("__")]
            if not left:
                break
            await asyncio.sleep(0.1)
    finally:
        await admin.close()


@contextlib.contextmanager
def running(data: Path, port: int | None = None, advertised: int | None = None) -> Iterator[Kafka]:
    """Run a broker until the block ends."""
    kafka = Kafka(data, port, advertised)
    kafka.start()
    try:
        yield kafka
    finally:
        kafka.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description="Run Apache Kafka until Ctrl-C.")
    parser.add_argument("--port", type=int, default=9092)
    parser.add_argument("--data", type=Path, default=Path(".data/kafka"))
    arguments = parser.parse_args()
    if problem := missing():
        sys.exit(problem)
    stop = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.append(True))
    with running(arguments.data, arguments.port) as kafka:
        print(f"Apache Kafka on {kafka.address}, data in {arguments.data}; Ctrl-C stops it", flush=True)
        while not stop:
            time.sleep(0.2)


if __name__ == "__main__":
    main()
