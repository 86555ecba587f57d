"""`why-stuck`: what each partition of a running worker is waiting for."""

import json
import urllib.error
import urllib.request
from typing import Annotated, Any

import orjson
import typer
from rich.table import Table

from worker.cli.options import JsonOption
from worker.cli.printing import console, say

DEADLINE_S = 5.0
COLUMNS = ("source", "topic", "partition", "offset", "unread", "state", "since_s", "key", "waits_for")


def why_stuck(
    url: Annotated[
        str, typer.Option(envvar="SMS_WORKER_URL", help="Where the worker's health and metrics answer.")
    ] = "http://127.0.0.1:9464",
    every: Annotated[bool, typer.Option("--all", help="Partitions with nothing to do as well.")] = False,
    as_json: JsonOption = False,
) -> None:
    """
    Ask a running worker why nothing moves: per partition, the oldest unfinished record and what it waits for.

    `offset` is that record, `key` the keyed hash of its recipient, of whom nothing else is worked on, `since_s` how
    long it has been where `state` says. Ask each process: each knows only the partitions it has. `sms-worker skip` gives a
    record up.
    """
    rows = [row for row in _ask(url) if every or row["state"] != "idle"]
    if as_json:
        say(orjson.dumps(rows, option=orjson.OPT_INDENT_2))
        return
    if not rows:
        say("nothing is waiting: everything that was read is finished", err=True)
        return
    table = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in ("partition", "offset", "unread", "since_s") else "left")
    for row in sorted(rows, key=lambda row: -row.get("since_s", 0)):
        table.add_row(*("" if row.get(name) is None else str(row[name]) for name in COLUMNS))
    console().print(table)


def _ask(url: str) -> list[dict[str, Any]]:
    if not url.startswith(("http://", "https://")):
        raise typer.BadParameter(f"found {url!r}; an address begins with http://", param_hint="--url")
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/why-stuck", timeout=DEADLINE_S) as answer:  # noqa: S310
            rows: list[dict[str, Any]] = json.loads(answer.read())
            return rows
    except (urllib.error.URLError, TimeoutError, ValueError) as error:
        reason = getattr(error, "reason", error)
        say(f"no worker answers at {url}: {reason}; the port is in its log line worker.running", err=True)
        raise typer.Exit(1) from None
