"""`keys`: how old keys are, and rotating the ring that wraps everybody's data keys."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import orjson
import typer
from tenacity import AsyncRetrying, retry_if_result, stop_after_delay, wait_fixed

from worker.auditing import auditing_the_end
from worker.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from worker.cli.printing import progress
from worker.presence import MONTH_S, OLD_MONTHS, TOO_OLD_MONTHS
from worker.sealing import KeyRing, add_ring_key, drop_ring_keys, load_key_ring
from worker.state.presence import KeyUse, Presence
from worker.tools import Tools, open_tools

app = typer.Typer(help="Keys: their age, and their rotation.", no_args_is_help=True)
PATIENCE_S, LOOK_EVERY_S = 180.0, 2.0


@app.command()
def status(as_json: JsonOption = False, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """
    Say how old each key is: those of the ring, which wrap people's data keys, and those of accounts at providers.

    After 6 months a key is old, after 12 too old; then it exits 1. An account's key counts from when a worker first used
    it. The pepper is none of them: it is never rotated, as every STOP is filed under it.
    """
    current, keys, now = asyncio.run(_status(config))
    months = {(one.kind, one.name): (now - one.since) / MONTH_S for one in keys}
    if as_json:
        rows = [
            {
                "kind": one.kind, "name": one.name, "since": one.since, "data_keys": one.count,
                "current": one.kind == "api" or one.name == current,
            }
            for one in keys
        ]  # fmt: skip
        typer.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2))
    else:
        for one in keys:
            typer.echo(_line(one, current, months[one.kind, one.name]))
        typer.echo("the pepper is never rotated: every STOP is filed under it", err=True)
    raise typer.Exit(1 if any(age > TOO_OLD_MONTHS for age in months.values()) else 0)


def _line(one: KeyUse, current: str, months: float) -> str:
    what = f"key ring, {one.name}" if one.kind == "ring" else f"account {one.name}"
    wraps = (
        "" if one.count is None else f", wraps {one.count} data keys{'' if one.name == current else ', not current'}"
    )
    age = "too old, rotate it" if months > TOO_OLD_MONTHS else "old" if months > OLD_MONTHS else "fine"
    return f"{what}: since {datetime.fromtimestamp(one.since, UTC):%Y-%m-%d}{wraps}: {age}"


async def _status(config: Path) -> tuple[str, list[KeyUse], float]:
    async with open_tools(config) as tools:
        ring = load_key_ring(tools.configuration.settings.key_ring_file, create=False)
        return ring.current, await Presence(tools.database).keys(), tools.clock.now().timestamp()


@app.command()
def rotate(
    name: Annotated[str | None, typer.Option(help="Of the new key; today's date unless said.")] = None,
    rewrap_only: Annotated[
        bool, typer.Option("--rewrap-only", help="The ring has its new current key already, from a secret store.")
    ] = False,
    drop: Annotated[bool, typer.Option("--drop", help="Take keys that wrap nothing any more out of the file.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """
    Rotate the key ring while everything runs: a fresh key that every process knows, then all wrapped anew. Audited.

    No process is restarted, and nothing is sealed anew: data keys stay, only what wraps them changes. It waits until every
    running process has read the new key. It can be stopped, and goes on with --rewrap-only.

    An account's key is rotated at the provider: write the new one into its key_file, and workers take it within seconds.

    Example: `sms-worker keys rotate`, and a day later `sms-worker keys rotate --rewrap-only --drop`
    """
    count, dropped = asyncio.run(_rotate(config, name, rewrap_only=rewrap_only, drop=drop))
    gone = f"; dropped {', '.join(dropped)}" if dropped else ""
    typer.echo(f"{count} data keys wrapped anew{gone}", err=True)


async def _rotate(config: Path, name: str | None, *, rewrap_only: bool, drop: bool) -> tuple[int, list[str]]:
    async with open_tools(config) as tools:
        path = tools.configuration.settings.key_ring_file
        if not rewrap_only:
            add_ring_key(path, name or f"{tools.clock.now():%Y-%m-%d}")
        ring, presence = load_key_ring(path, create=False), Presence(tools.database)
        await presence.note_ring_key(ring.current)
        await _wait_for_everybody(presence, ring.current)
        count = await _rewrap(tools, presence, ring)
        used = {one.name for one in await presence.keys() if one.kind == "ring"}
        return count, drop_ring_keys(path, used) if drop else []


async def _wait_for_everybody(presence: Presence, current: str) -> None:
    """Wait until each process knows the current key, as it will meet data keys that are wrapped by it."""

    async def behind() -> Sequence[str]:
        return [one.host for one in await presence.alive() if current not in one.ring_keys]

    def tell(hosts: Sequence[str]) -> bool:
        if hosts:
            typer.echo(f"waiting for {len(hosts)} processes to read key {current}: {', '.join(hosts[:5])}", err=True)
        return bool(hosts)

    waiting = AsyncRetrying(
        retry=retry_if_result(tell), wait=wait_fixed(LOOK_EVERY_S), stop=stop_after_delay(PATIENCE_S)
    )
    await waiting(behind)


async def _rewrap(tools: Tools, presence: Presence, ring: KeyRing) -> int:
    count = 0
    with progress() as bar:
        task = bar.add_task("data keys", total=None)

        def told() -> dict[str, int | str]:
            return {"current": ring.current, "data_keys": count}

        async with auditing_the_end(tools.topics, tools.sink, "keys.rotate", told):
            last = ""
            while rows := await presence.stale_keys(ring.current, last):
                new = [
                    {
                        "subject": row.subject, "key_id": row.key_id, "before": row.wrapped, "ring_key": ring.current,
                        "wrapped": ring.rewrap(row.subject, row.key_id, row.ring_key, row.wrapped),
                    }
                    for row in rows
                ]  # fmt: skip
                count += await presence.rewrapped(new)
                bar.advance(task, len(new))
                last = rows[-1].subject
    return count
