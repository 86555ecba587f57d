"""How the demo looks."""

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from worker.demo.watching import TERMINAL, Seen

STYLES = {"accepted": "green", "suppressed": "yellow", "rejected": "red", "dead_lettered": "red", "unknown": "magenta"}


class Screen:
    """Progress, outcomes and phones; made anew whenever rich asks."""

    def __init__(self, seen: Seen, events: int) -> None:
        self._seen = seen
        self.act = "starting the embedded broker, the sandbox and the worker"
        self._progress = Progress(
            TextColumn("{task.description:<22}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn()
        )
        self._published = self._progress.add_task("events published", total=events)
        self._handled = self._progress.add_task("events handled", total=events)
        self._ended = self._progress.add_task("messages ended", total=None)

    def published(self, count: int) -> None:
        """Note how many events have been published."""
        self._progress.update(self._published, completed=count)

    def __rich__(self) -> RenderableType:
        """Draw it."""
        seen = self._seen
        self._progress.update(self._handled, completed=seen.records_read)
        ended = sum(seen.concluded.values()) + seen.lane_letters
        self._progress.update(self._ended, completed=ended, total=seen.messages_routed or None)
        return Group(Text(self.act, style="bold"), self._progress, phones(seen), outcomes_table(seen))


def outcomes_table(seen: Seen) -> Table:
    """Return a table of outcomes by category and reason."""
    table = Table(title="Outcomes", title_justify="left", box=None, pad_edge=False)
    for heading in ("category", "outcome", "reason"):
        table.add_column(heading, min_width=15)
    table.add_column("messages", justify="right")
    for (category, outcome, reason), count in sorted(seen.outcomes.items()):
        table.add_row(category, Text(outcome, style=STYLES.get(outcome, "")), reason, str(count))
    return table


def phones(seen: Seen) -> RenderableType:
    """Return the last texts as phones show them."""
    panels = [_phone(text) for text in list(seen.texts)[-3:]]
    return Columns(panels, equal=True) if panels else Text("no text yet", style="dim")


def _phone(text: dict[str, object]) -> Panel:
    kind = "marketing" if text["purpose"] == "wholesale" else "transactional"
    foot = f"{text['segments']} segment{'s'[: text['segments'] != 1]}, {text['encoding']}, {text['cost']:.2f} €"
    body = Text(str(text["text"]), overflow="fold")
    style = "yellow" if kind == "marketing" else "cyan"
    return Panel(body, title=f"{text['sender']}, {kind}", subtitle=foot, width=40, height=10, border_style=style)


def sums(seen: Seen) -> tuple[bool, list[str]]:
    """Return whether the design's two sums hold, and how they read."""
    became = seen.became
    kinds = ("routed", "projected", "ignored", "unrouted", "dead_lettered")
    ends = [(kind, seen.concluded[kind]) for kind in TERMINAL if seen.concluded[kind]]
    records = f"{seen.records_read} records = " + " + ".join(
        f"{became[kind]} {kind.replace('_', '-')}" for kind in kinds
    )
    rest = [("waiting", seen.waiting), ("dead letters", seen.lane_letters)]
    messages = f"{seen.messages_routed} messages = " + " + ".join(f"{count} {kind}" for kind, count in [*ends, *rest])
    holds = (
        seen.records_read == became.total()
        and seen.messages_routed <= seen.messages_read
        and seen.waiting == seen.until_morning
    )
    return holds, [records, messages]


def summary(console: Console, seen: Seen, events: int, folder: str, seconds: float) -> bool:
    """Print what came of the day; return whether everything adds up."""
    holds, lines = sums(seen)
    twice = seen.provider.get("texted_twice", [])
    good = holds and not twice and seen.records_read == events
    console.print(outcomes_table(seen))
    console.print()
    console.print(
        f"[bold]{events} events in {seconds:.0f} s[/]; {seen.provider.get('texts', 0)} texts on phones for {seen.cost:.2f} €"
    )
    for line in lines:
        console.print("  " + line)
    if again := sum(seen.concluded.values()) - sum(kind in TERMINAL for kind in seen.messages.values()):
        console.print(f"  {again} of these ended as they had before: the shop published their events twice")
    console.print(f"  {len(twice)} messages texted twice" if twice else "  nobody was texted twice")
    console.print(
        "[green]Everything adds up.[/]" if good else "[red]This does not add up; the worker's log says more.[/]"
    )
    console.print()
    console.print("Where to look next:")
    console.print(f"  {folder}/config          the configuration this ran on: routes.yaml, templates/, providers.yaml")
    console.print(f"  {folder}/worker.log      what the worker said, without a number or a name")
    console.print(
        "  .venv/bin/sms-worker explain docs/examples/order.shipped.json    what an event would become, and why"
    )
    console.print(
        "  .venv/bin/sms-worker check                                       every mistake with its file and line"
    )
    return good
