"""`retention`: forget prospects who have not been heard of, and end proofs whose term is over. A job for a calendar."""

import asyncio
import uuid
from pathlib import Path
from typing import Annotated

import typer

from worker.auditing import auditing_the_end
from worker.cli.options import DEFAULT_CONFIG, ConfigOption
from worker.cli.printing import progress, say
from worker.state.jobs import Job, Jobs
from worker.state.retention import Retention
from worker.tools import open_tools


def retention(
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without it, say only how many there are.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """
    Forget prospects who have not been heard of, and end proofs whose term is over. Audited; for a nightly job.

    A prospect goes `retention.prospect_days` (3 years) after the last act, update, or text that answered something they
    did; a proof `retention.proof_days` (5 years) after its person was forgotten. Suppressions stay. The terms are in
    policy.yaml. It can be stopped, and run again, at any time.

    Example: `sms-worker retention`, then the same with `--yes`
    """
    people, proofs = asyncio.run(_run(config, yes=yes))
    told = "forgotten" if yes else "would be forgotten; --yes does it"
    say(f"{people} prospects {told}; {proofs} proofs{'' if yes else ' or more'} are over", err=True)


async def _run(config: Path, *, yes: bool) -> tuple[int, int]:
    people = proofs = 0
    run = uuid.uuid4().hex[:12]
    async with open_tools(config) as tools:
        job = Retention(tools.database, tools.configuration.policy.retention)
        if not yes:
            async for piece in job.prospects():
                people += len(piece)
            return people, len(await job.proofs())
        with progress() as bar:
            task = bar.add_task("people", total=None)

            def told() -> dict[str, int | str]:
                return {"run": run, "forgotten": people, "proofs_ended": proofs}

            async with auditing_the_end(tools.topics, tools.sink, "retention", told):
                async for piece in job.prospects(lambda count: bar.advance(task, count)):
                    for one in piece:
                        people += await job.forget(one, run)
                while over := await job.proofs():
                    await job.end(over)
                    proofs += len(over)
                await Jobs(tools.database).done(Job.RETENTION)
    return people, proofs
