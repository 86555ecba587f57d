"""What the pages for operators say to type is typed, on a deployment that runs: status by status, pause by pause."""

import asyncio
import os
import shlex
from pathlib import Path

from typer.testing import CliRunner

from tests.builders import ROOT
from tests.conftest import REAL_SERVERS
from tests.contracts.test_docs import commands
from tests.world import CREDENTIALS, open_world
from worker.cli import app

PAGES = ("on-call", "operating", "calendar", "upgrading", "dead-letters-and-replay")
# Those run until Ctrl-C, want their own file or terminal, or name places that are somebody else's.
LEFT_OUT = ("run", "admin", "skip", "backtest", "lint-text", "preview", "find", "explain", "suppress", "send-test")
# What there is nothing of here says so, and exits 1.
NOTHING_THERE = {
    "dead-letters show", "dead-letters release", "cancel --campaign", "dead-letters replay", "resume --route",
}  # fmt: skip


def typed() -> list[str]:
    """Every command of the pages, once, in their order."""
    found = dict.fromkeys(each for page in PAGES for each in commands(ROOT / "docs" / f"{page}.md"))
    words = {each: shlex.split(each)[1:] for each in found}
    return [
        each for each, its in words.items()
        if its and its[0] not in LEFT_OUT and "--help" not in its and "-" not in its and "|" not in each
        and each not in ("sms-worker cancel", "sms-worker dead-letters replay") and not any(word.isupper() for word in its)
    ]  # fmt: skip


@REAL_SERVERS
async def test_operators_commands_do_on_a_running_deployment_what_their_pages_say(
    servers, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told: dict[str, tuple[int, str]] = {}
    async with open_world(tmp_path, **servers, accounts={"hlr_price": 0.01}) as world:
        await world.people(3)
        async with world.process():
            await world.publish("promotion.announced", recipients=[{"contact_id": f"c-{n}"} for n in range(3)])
            await world.publish("order.shipped", {"contact_id": "c-1"}, order_id="")
            await world.outcomes(3)
            environment = {**os.environ, **CREDENTIALS, "SMS_WORKER_CONFIG": str(Path(world.config).absolute())}
            for each in typed():
                words = shlex.split(each)[1:]
                if words[0] == "why-stuck":
                    words += ["--url", f"http://127.0.0.1:{world.port()}"]
                done = await asyncio.to_thread(CliRunner().invoke, app, words, env=environment)
                told[each] = done.exit_code, done.output + repr(done.exception or "")

    assert len(told) > 40
    wrong = {
        each: what for each, (code, what) in told.items()
        if code and not (code == 1 and any(each.startswith(f"sms-worker {one}") for one in NOTHING_THERE))
    }  # fmt: skip
    assert not wrong
    assert (tmp_path / "report.html").exists()
