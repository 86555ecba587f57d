"""The README's example event, sent with kcat to a real Kafka, yields the README's outcome."""

import asyncio
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import require
from tests.world import open_world
from worker.state.schema import migrate

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
EVENT, OUTCOME = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", README, re.DOTALL)[:2])
# What differs from run to run: hashes under another pepper, ids made from them, times, the provider's ticket.
VOLATILE = {
    "id",
    "message_id",
    "recipient",
    "about",
    "subject",
    "time",
    "expires_at",
    "submitted_at",
    "provider_ref",
    "template_version",
    "policy_version",
    "partition",
}


def steady(value):
    """The value without what differs from run to run."""
    if isinstance(value, dict):
        return {name: steady(its) for name, its in value.items() if name not in VOLATILE or isinstance(its, dict)}
    return value


@pytest.mark.kafka
async def test_the_example_event_yields_the_example_outcome(kafka, tmp_path) -> None:
    require(None if shutil.which("kcat") else "the README's commands need kcat")
    url = f"sqlite+aiosqlite:///{tmp_path}/state.db"
    await asyncio.to_thread(migrate, url)
    await asyncio.to_thread(kafka.forget)
    async with open_world(tmp_path, kafka.address, url, embedded=False) as world, world.process():
        send = ["kcat", "-P", "-b", kafka.address, "-t", "orders.events", "-k", "c-42"]
        header = ["-H", "content-type=application/cloudevents+json; charset=UTF-8"]
        subprocess.run([*send, *header], input=json.dumps(EVENT).encode(), check=True)
        await world.outcomes(1)
        (text,) = world.provider.sent
        received = subprocess.run(
            ["kcat", "-C", "-b", kafka.address, "-t", "sms.outcomes", "-e", "-q"], capture_output=True, check=True
        )

    outcome = json.loads(received.stdout)
    assert steady(outcome) == steady(OUTCOME)
    assert outcome.keys() == OUTCOME.keys()
    assert outcome["data"].keys() == OUTCOME["data"].keys()
    assert outcome["data"]["event"]["id"] == EVENT["id"]
    assert f"*{text.text}*" in README


def test_the_example_file_is_the_readme_s_event() -> None:
    assert json.loads((ROOT / "docs" / "examples" / "order.shipped.json").read_text()) == EVENT
