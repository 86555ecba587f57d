"""`outcomes redrive`: what a bad deploy suppressed or had refused goes again."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from schemas.outcomes import OutcomeKind
from worker.cli.choosing import read_time
from worker.cli.options import DEFAULT_CONFIG, ConfigOption
from worker.cli.printing import progress, say
from worker.replaying.redriving import KINDS, PIECE, OutcomeFilter, Redrive, chosen_outcomes
from worker.tools import open_tools

app = typer.Typer(help="What came of messages.", no_args_is_help=True)


@app.command("redrive")
def redrive_command(
    outcome: Annotated[OutcomeKind, typer.Option(help="rejected or suppressed.")],
    reason: Annotated[str | None, typer.Option(help="Its reason code: recipient_refused.")] = None,
    template: Annotated[str | None, typer.Option(help="Template id.")] = None,
    template_version: Annotated[
        str | None, typer.Option(help="Hash of the template's content, of the bad deploy.")
    ] = None,
    route: Annotated[str | None, typer.Option(help="Route id.")] = None,
    campaign: Annotated[str | None, typer.Option(help="Campaign.")] = None,
    since: Annotated[str | None, typer.Option(help="A time, or how long ago: 2h.")] = None,
    until: Annotated[str | None, typer.Option(help="A time, or how long ago: 45m.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without it, say only what would be done.")] = False,
    yes_marketing: Annotated[bool, typer.Option("--yes-marketing", help="Marketing messages, too.")] = False,
    most: Annotated[int | None, typer.Option("--max", min=1, help="At most so many.")] = None,
    rate: Annotated[float, typer.Option(min=0.1, help="Messages per second.")] = 20.0,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """
    Let messages go again that a bad deploy suppressed, or that a provider refused because of it. Audited.

    Each is read from its lane again, only where the ledger proves that nothing was handed over, keeps its id, and passes
    every check again: who withdrew meanwhile gets nothing, and what has expired stays expired.
    """
    if outcome not in KINDS:
        raise typer.BadParameter(f"found {outcome}; there are {', '.join(KINDS)}", param_hint="--outcome")
    wanted = OutcomeFilter(
        kind=outcome,
        reason=reason,
        template=template,
        template_version=template_version,
        route=route,
        campaign=campaign,
        since=read_time(since, "since"),
        until=read_time(until, "until"),
    )
    asyncio.run(_redrive(config, wanted, yes=yes, yes_marketing=yes_marketing, most=most, rate=rate))


async def _redrive(
    config: Path, wanted: OutcomeFilter, *, yes: bool, yes_marketing: bool, most: int | None, rate: float
) -> None:
    async with open_tools(config) as tools:
        outcomes = (await chosen_outcomes(tools, wanted))[:most]
        with progress() as shown:
            bar = shown.add_task("messages", total=len(outcomes))
            run = Redrive(
                tools,
                rate=rate if yes else PIECE,
                yes_marketing=yes_marketing,
                really=yes,
                tell=lambda done, what: shown.update(bar, completed=done, description=what or "messages"),
            )
            try:
                await run.run(outcomes, str(uuid.uuid4()), wanted.told())
            finally:
                shown.stop()
                _print(run, outcomes, done=yes)


def _print(run: Redrive, outcomes: Sequence[dict[str, Any]], *, done: bool) -> None:
    counts = Counter((told["template"] or "", told["reason"] or "") for told in outcomes)
    for (template, reason), count in counts.most_common():
        say(f"{count}  {template}  {reason}")
    for (decision, detail), count in run.decided.most_common():
        say(f"{count}  today it {decision}" + (f": {detail}" if detail else ""))
    became = " + ".join(f"{n} {what}" for what, n in (+run.became).items()) or "0"
    cost = f", {run.cost:.2f} in the accounts' currency" if run.cost else ""
    say(f"{run.became.total()} messages = {became}; {run.segments} segments{cost}")
    if not done:
        say("nothing was done; --yes does it", err=True)
