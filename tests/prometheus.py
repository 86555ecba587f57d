"""A real Prometheus and a real Alertmanager on loopback, for what a unit test of rules cannot show."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from ruamel.yaml import YAML

from tests.conftest import require
from worker.demo.broker import free_port, wait_for_port
from worker.demo.processes import open_process

# True of every worker until it has been scraped once, has its partitions, and has told what the state store knows.
AT_FIRST = {"SmsWorkerAbsent", "SmsSourceAbsent", "SmsProjectionLate"}
FOLDER = Path(__file__).parent.parent / "deploy" / "prometheus"


class Prometheus:
    """Asks."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session = aiohttp.ClientSession()

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query; an error of the query is an error here."""
        async with self._session.get(f"{self.url}/api/v1/query", params={"query": expression}) as response:
            told = await response.json()
        assert told["status"] == "success", (expression, told)
        return told["data"]["result"]

    async def stretch(self, expression: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """The series of a range query."""
        asked = {"query": expression, "start": start, "end": end, "step": step}
        async with self._session.get(f"{self.url}/api/v1/query_range", params=asked) as response:
            told = await response.json()
        assert told["status"] == "success", (expression, told)
        return told["data"]["result"]

    async def close(self) -> None:
        await self._session.close()


@asynccontextmanager
async def open_prometheus(
    folder: Path, targets: Sequence[str], *, alertmanager: str | None = None, quick: bool = True
) -> AsyncIterator[Prometheus]:
    """
    Scrape *targets* every second with our rules until the block ends.

    quick: rules are evaluated every second, and `for:` waits are a second: what fires is the rules' business, when is theirs too.
    """
    require(None if shutil.which("prometheus") else "prometheus is missing (apt: prometheus)")
    folder.mkdir()
    yaml = YAML()
    rules = yaml.load(FOLDER / "rules.yml")
    for group in rules["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            if quick and "for" in rule:
                rule["for"] = "60s" if rule["alert"] in AT_FIRST else "1s"
    yaml.dump(rules, folder / "rules.yml")
    configuration = yaml.load(FOLDER / "prometheus.yml")
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    configuration["scrape_configs"][0]["static_configs"] = [{"targets": list(targets)}]
    if alertmanager is None:
        del configuration["alerting"]
    else:
        configuration["alerting"]["alertmanagers"][0]["static_configs"] = [{"targets": [alertmanager]}]
    yaml.dump(configuration, folder / "prometheus.yml")
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
               f"--web.listen-address={address}", "--log.level=warn", "--rules.alert.resend-delay=1s"]  # fmt: skip
    with (folder / "log").open("wb") as log:
        async with open_process(command, output=log) as process:
            await wait_for_port(address, process)
            prometheus = Prometheus(f"http://{address}")
            try:
                yield prometheus
            finally:
                await prometheus.close()


@asynccontextmanager
async def open_alertmanager(folder: Path, receiver: str) -> AsyncIterator[str]:
    """Run our Alertmanager configuration, its receivers all at *receiver*, its waits a second; gives its address."""
    require(
        None if shutil.which("prometheus-alertmanager") else "alertmanager is missing (apt: prometheus-alertmanager)"
    )
    folder.mkdir()
    yaml = YAML()
    configuration = yaml.load(FOLDER / "alertmanager.yml")
    for each in configuration["receivers"]:
        for hook in each["webhook_configs"]:
            hook["url"] = f"{receiver}/{each['name']}"
    for route in (configuration["route"], *configuration["route"]["routes"]):
        route |= {"group_wait": "1s", "group_interval": "1s"}
    yaml.dump(configuration, folder / "alertmanager.yml")
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus-alertmanager", f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/data",
               f"--web.listen-address={address}", "--cluster.listen-address="]  # fmt: skip
    with (folder / "log").open("wb") as log:
        async with open_process(command, output=log) as process:
            await wait_for_port(address, process)
            yield address


class Pager:
    """What Alertmanager sent, by receiver: (status, alert name, labels)."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, str, dict[str, str]]] = []

    async def hear(self, request: web.Request) -> web.Response:
        told = await request.json()
        for alert in told["alerts"]:
            self.heard.append((request.match_info["receiver"], alert["status"], alert["labels"]["alertname"], alert))
        return web.Response()

    async def until(self, receiver: str, status: str, name: str, seconds: float = 60) -> dict[str, Any]:
        """Wait for such a notification, and return it."""
        for _ in range(int(seconds * 10)):
            for one in self.heard:
                if one[:3] == (receiver, status, name):
                    return one[3]
            await asyncio.sleep(0.1)
        raise AssertionError(f"{receiver}, {status}, {name} never came; there were {[one[:3] for one in self.heard]}")


@asynccontextmanager
async def open_pager() -> AsyncIterator[tuple[Pager, str]]:
    """Listen for webhooks until the block ends; gives what was heard, and the address."""
    pager, application = Pager(), web.Application()
    application.add_routes([web.post("/{receiver}", pager.hear)])
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield pager, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
