"""`preview`: a text as a phone shows it, and what it costs."""

from pathlib import Path
from typing import Annotated

import typer
from rich.columns import Columns
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from worker.answers.previewing import Preview, page, told
from worker.answers.previewing import preview as preview_texts
from worker.cli.options import DEFAULT_CONFIG, ConfigOption
from worker.cli.printing import console, say
from worker.routing.loading import load_configuration


def preview(
    template: Annotated[str, typer.Argument(help="The template's id: its file's name.")],
    values: Annotated[
        list[str] | None,
        typer.Option("--value", help="Another value than the sample: first_name=Zoé. May be repeated."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with the same instead.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """
    Show a template's texts in each language as a phone does, with samples: segments and where they are cut, what costs most.

    Example: `sms-worker preview order_shipped --value first_name=Владимир`
    """
    given = dict(one.partition("=")[::2] for one in values or ())
    previews = preview_texts(load_configuration(config), template, given)
    if html is not None:
        html.write_text(page(template, previews), "utf-8")
        say(str(html), err=True)
        return
    console().print(Columns([_phone(one) for one in previews], padding=(0, 2)))


def _phone(one: Preview) -> Group:
    text, borders = Text(one.text.body), one.text.segmentation.borders
    for place, character in enumerate(one.text.body):
        if character in one.dear:
            text.stylize("bold red", place, place + 1)
    for border in borders:
        text.stylize("reverse", border, border + 1)
    bubble = Panel(text, width=34, padding=(0, 1))
    phone = Panel(bubble, title=one.text.sender, subtitle=one.locale, width=42, padding=(1, 2))
    facts = Table(show_header=False, box=None, width=42)
    for name, value in told(one):
        facts.add_row(name, value)
    return Group(phone, facts)
