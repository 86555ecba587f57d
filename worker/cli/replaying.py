"""`dead-letters replay` and `dead-letters release`: what changes something."""

import asyncio
import uuid
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from worker.auditing import audit_record, auditing_the_end
from worker.cli.choosing import with_letter_filter
from worker.cli.options import DEFAULT_CONFIG, ConfigOption
from worker.cli.printing import console, progress, say
from worker.replaying.letters import LetterFilter
from worker.replaying.looking import rehearse
from worker.replaying.putting_back import Figures, Run, Wish, chosen_letters
from worker.tools import open_tools

CLOSED_AT_ONCE = 500


@with_letter_filter
def replay(
    wanted: LetterFilter,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without it, say only what would be done.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say only what would be done, whatever else is given.")
    ] = False,
    rate: Annotated[float, typer.Option(min=0.1, help="Letters per second.")] = 20.0,
    most: Annotated[int | None, typer.Option("--max", min=1, help="At most so many.")] = None,
    as_new: Annotated[
        bool,
        typer.Option("--as-new", help="Send expired transactional texts under a new id; never codes, never marketing."),
    ] = False,
    yes_marketing: Annotated[bool, typer.Option("--yes-marketing", help="Marketing letters, too.")] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Letters that today's rules would give up again, too.")
    ] = False,
    quarantined: Annotated[
        bool, typer.Option("--quarantined", help="Letters that failed after three replays, too.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """
    Put dead letters back: events to the router, messages to their lane. Every check is passed again.

    Without `--yes` nothing is done: it shows a histogram, the segments and their cost, and what today's rules would decide.
    Message ids stay, so what was sent is not sent again, and what has expired stays expired. Letters that were handled are
    left out, so a run that was stopped goes on where it was when the command is given again. Each run is on `sms.audit`.
    """
    wish = Wish(
        run=str(uuid.uuid4()),
        rate=rate,
        most=most,
        as_new=as_new,
        yes_marketing=yes_marketing,
        anyway=anyway,
        quarantined=quarantined,
    )
    really, figures = yes and not dry_run, Figures()
    try:
        asyncio.run((_replay if really else _rehearse)(config, wanted, wish, figures))
    finally:  # of a run that fails, what it did
        _print_figures(figures, done=really)


@with_letter_filter
def close(
    wanted: LetterFilter,
    because: Annotated[str, typer.Option(help="Why; kept on sms.audit: `published again by the shop`.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without it, say only how many there are.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Show dead letters no more that need no replay: the emitter published them again, or nobody wants them. Audited."""
    count = asyncio.run(_close(config, wanted, because, yes=yes))
    say(f"{count} letters closed" if yes else f"{count} letters; nothing was done; --yes does it", err=True)


def release(
    scope: Annotated[
        str | None, typer.Argument(help="template:NAME or account:NAME; without it, list what holds.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Let a template or an account go on that holds because what it sends was refused in a flood. Audited."""
    raise typer.Exit(asyncio.run(_release(config, scope)))


async def _replay(config: Path, wanted: LetterFilter, wish: Wish, figures: Figures) -> None:
    async with open_tools(config) as tools:
        total = 0
        async for _ in chosen_letters(tools, wanted):
            total += 1
        with progress() as shown:
            bar = shown.add_task("letters", total=total)

            def tell(so_far: Figures, waits_for: str) -> None:
                shown.update(bar, completed=so_far.chosen, description=waits_for or "letters")

            await Run(tools, wish, tell, figures).run(wanted)


async def _rehearse(config: Path, wanted: LetterFilter, wish: Wish, figures: Figures) -> None:
    async with open_tools(config) as tools:
        with progress() as shown:
            bar = shown.add_task("letters", total=None)
            await rehearse(tools, wanted, wish, figures, lambda count: shown.update(bar, completed=count))


def _print_figures(figures: Figures, *, done: bool) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("REASON", "TODAY IT"):
        table.add_column(name)
    table.add_column("LETTERS", justify="right")
    for (reason, decision), count in figures.reasons.most_common():
        table.add_row(escape(reason), escape(decision), str(count))
    console().print(table)
    cost = f", {figures.cost:.2f} in the accounts' currency" if figures.cost else ""
    became = " + ".join(f"{count} {what}" for what, count in figures.became.most_common()) or "0"
    say(f"{figures.chosen} letters = {became}; {figures.segments} segments{cost}")
    if not done:
        say("nothing was done; --yes does it", err=True)


async def _close(config: Path, wanted: LetterFilter, because: str, *, yes: bool) -> int:
    async with open_tools(config) as tools:
        places = {letter.place: letter.time_ms async for letter in chosen_letters(tools, wanted)}
        if yes:
            run, closed = str(uuid.uuid4()), 0
            told = {"run": run, "filters": wanted.told(), "letters": len(places), "because": because}
            await tools.sink.publish(audit_record(tools.topics, "dead-letters.close", **told))
            async with auditing_the_end(
                tools.topics, tools.sink, "dead-letters.closed", lambda: {"run": run, "closed": closed}
            ):
                for start in range(0, len(places), CLOSED_AT_ONCE):
                    piece = sorted(places)[start : start + CLOSED_AT_ONCE]
                    await tools.operating.mark_handled({place: places[place] for place in piece}, run)
                    closed += len(piece)
        return len(places)


async def _release(config: Path, scope: str | None) -> int:
    async with open_tools(config) as tools:
        held = await tools.operating.floods()
        if scope is None:
            for name, reason in held.items():
                say(f"{name}  {reason}")
            say("nothing holds" if not held else f"{len(held)} held", err=True)
            return 0
        if scope not in held:
            say(f"{scope} does not hold; held are {', '.join(held) or 'none'}", err=True)
            return 1
        await tools.sink.publish(audit_record(tools.topics, "dead-letters.release", scope=scope))
        await tools.operating.release(scope)
        say(f"{scope} goes on", err=True)
        return 0
