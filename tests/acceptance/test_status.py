"""`status` tells how everything stands, from Kafka and the state store alone."""

import asyncio
import csv
import json
import os
import pty
import signal
import sys
import termios
from collections.abc import Callable

import aiohttp

from tests.acceptance.test_pausing import heard
from tests.conftest import REAL_SERVERS
from tests.world import CREDENTIALS, open_world


@REAL_SERVERS
async def test_status_tells_what_runs_what_is_behind_what_is_paused_and_what_came_last(servers, tmp_path) -> None:
    async with open_world(tmp_path, **servers, delay="2h") as world:
        await world.people(6)
        async with world.process():
            await world.publish("cart.abandoned", {"contact_id": "c-5"})
            await world.read("sms.outcomes", lambda found: any(b'"deferred"' in one.value for one in found))
            await world.command("pause", "--lane", "marketing", "--reason", "wrong prices")
            await heard(world, "operator.paused")
            await world.publish("promotion.announced", recipients=[{"contact_id": f"c-{n}"} for n in range(4)])
            for n in range(6):
                await world.publish("order.shipped", {"contact_id": f"c-{n}"})
            await world.publish("order.shipped", {"contact_id": "c-1"}, order_id="")
            await world.outcomes(6)
            shown = (await world.command("status")).stdout
            told = json.loads((await world.command("status", "--json")).stdout)
        gone = (await world.command("status")).stdout

    sources = {one["name"]: one for one in told["sources"]}
    assert sources["sender-marketing"]["records"] == 4
    assert sources["sender-marketing"]["oldest_s"] > 0
    assert sources["normal"]["records"] == sources["sender-transactional"]["records"] == 0
    assert told["paused"]["lane:marketing"]["reason"] == "wrong prices"
    assert told["letters"] == {"router": 1, "urgent": 0, "transactional": 0, "marketing": 0}
    assert told["told"]["held"] == {"octopush-marketing": None, "octopush-transactional": None}
    assert {"lane": "marketing", "reason": "delayed", "due": "2h", "messages": 1} in told["counts"]["waiting"]
    assert len(told["processes"]) == 1
    assert 0 < told["latency_s"]["transactional"][0] <= told["latency_s"]["transactional"][1]
    assert {one["outcome"] for one in told["outcomes"]} >= {"accepted", "dead_lettered"}
    for said in (
        "paused: lane:marketing  wrong prices",
        "sender-marketing",
        "order_shipped",
        "router 1",
        "1 process",
    ):
        assert said in shown
    assert "nothing runs" in gone
    assert "+336" not in shown + json.dumps(told)


class Screen:
    """A terminal of 140 by 50 that a command runs in; what was written to it, as it came."""

    def __init__(self) -> None:
        self.text, (self._ours, self.theirs) = "", pty.openpty()
        termios.tcsetwinsize(self.theirs, (50, 140))
        asyncio.get_running_loop().add_reader(self._ours, self._read)

    def _read(self) -> None:
        self.text += os.read(self._ours, 65_536).decode(errors="replace")

    async def until(self, *words: str) -> None:
        """Wait until all of *words* were shown by one look or another, and forget what was shown."""
        for _ in range(400):
            if all(word in self.text for word in words):
                self.text = ""
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{words} were never shown; there was {self.text[-3000:]}")

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._ours)
        os.close(self._ours)
        os.close(self.theirs)


async def until_it_says(url: str, right: Callable[[dict], bool]) -> int:
    """Ask for readiness until its parts are *right*; return the status."""
    async with aiohttp.ClientSession() as session:
        for _ in range(300):
            async with session.get(url) as response:
                if right((await response.json())["parts"]):
                    return response.status
            await asyncio.sleep(0.1)
    raise AssertionError(f"{url} never said so")


@REAL_SERVERS
async def test_status_watches_follows_what_changes_says_who_is_away_and_ends_by_ctrl_c(
    servers, kafka, postgres, tmp_path
) -> None:
    async with open_world(tmp_path, **servers) as world:
        command = [sys.executable, "-m", "worker", "status", "--watch", "--every", "0.5", "--config", str(world.config)]
        screen = Screen()
        its = {"stdin": screen.theirs, "stdout": screen.theirs, "stderr": screen.theirs}
        async with world.process():  # the first one makes the key ring
            watching = await asyncio.create_subprocess_exec(*command, **its, env={**os.environ, **CREDENTIALS})
            await screen.until("1 process")
        try:
            await screen.until("nothing runs")
            async with world.process():
                await screen.until("1 process")
                await world.publish("otp.requested", {"phone": "+33671000001"})
                await screen.until("otp_code", "accepted")
                await asyncio.to_thread(postgres.stop, "immediate")
                await screen.until("does not answer", "what follows is old", "otp_code")
                await asyncio.to_thread(postgres.start)
                await screen.until("1 process")
                await asyncio.to_thread(kafka.stop)
                await screen.until("Kafka does not answer", "what follows is old", "otp_code")
                url = f"http://127.0.0.1:{world.port()}"
                ready = await until_it_says(f"{url}/readyz", lambda parts: not parts["kafka"])
                stuck = (await world.command("why-stuck", "--url", url)).stdout
                told = await world.metrics()
                await asyncio.to_thread(kafka.start)
                await screen.until("1 process", "otp_code")
            watching.send_signal(signal.SIGINT)
            ended = await asyncio.wait_for(watching.wait(), 20)
        finally:
            if watching.returncode is None:
                watching.kill()
            screen.close()

    assert ended in {0, 130}
    assert ready == 503
    assert "Kafka, which does not answer" in stuck
    assert "sms_kafka_up 0.0" in told
    lines = [line for line in world.log.read_text().splitlines() if "aiokafka" in line]
    assert len(lines) < 400  # hundreds a second otherwise


@REAL_SERVERS
async def test_a_report_counts_what_the_results_topic_says(servers, tmp_path) -> None:
    async with open_world(tmp_path, **servers) as world:
        await world.people(3)
        async with world.process():
            await world.publish(
                "promotion.announced", recipients=[{"contact_id": f"c-{n}"} for n in range(3)], campaign="autumn"
            )
            await world.publish("cart.abandoned", {"phone": "+33699999999"})
            await world.publish("order.shipped", {"contact_id": "c-1"})
            await world.outcomes(5)
        table = await world.command("report", "--from", "1h")
        autumn = (
            await world.command("report", "--from", "1h", "--campaign", "autumn", "--by", "campaign", "--csv", "-")
        ).stdout
        await world.command("report", "--from", "1h", "--html", str(tmp_path / "report.html"))
        rows = list(
            csv.DictReader(
                (await world.command("report", "--from", "1h", "--by", "category", "--csv", "-")).stdout.splitlines()
            )
        )
        wrong = await world.command("report", "--by", "person", expect=2)

    assert "4 sent, 1 not, 0.20 EUR" in table.stderr
    assert "cannot be measured" in " ".join(table.stderr.split())
    assert "no_consent 1" in table.stdout
    assert autumn.splitlines()[1].startswith("autumn,3,0,0,0,0,0,0,0,0,0,0,3,0.15,EUR")
    assert "What was sent" in (tmp_path / "report.html").read_text()
    (marketing,) = [row for row in rows if row["category"] == "marketing"]
    assert marketing["not sent: no_consent"] == marketing["suppressed"] == "1"
    assert (marketing["sent of all"], marketing["delivered of sent"]) == ("0.75", "")
    assert "there are campaign, route, category" in " ".join(wrong.stderr.replace("│", " ").split())
