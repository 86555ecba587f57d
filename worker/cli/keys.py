"""`keys`: how old keys are, and rotating the ring that wraps everybody's data keys."""

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from tenacity import AsyncRetrying, RetryError, retry_if_result, stop_after_delay, wait_fixed

from worker.auditing import auditing_the_end
from worker.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption
from worker.cli.printing import progress, say
from worker.errors import ConfigurationError, NotEverybody, Problem
from worker.presence import MONTH_S, OLD_MONTHS, TOO_OLD_MONTHS
from worker.sealing import KeyRing
from worker.secret_files import add_ring_key, drop_ring_keys, load_key_ring, make_current
from worker.state.presence import KeyUse, Presence, Process
from worker.tools import Tools, open_tools

app = typer.Typer(help="Keys: their age, and their rotation.", no_args_is_help=True)
PATIENCE_S, LOOK_EVERY_S, DAY_S = 180.0, 2.0, 86_400.0


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
        say(orjson.dumps(rows, option=orjson.OPT_INDENT_2))
    else:
        for one in keys:
            say(_line(one, current, months[one.kind, one.name]))
        say("the pepper is never rotated: every STOP is filed under it", err=True)
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
    drop: Annotated[
        bool,
        typer.Option("--drop", help="With --rewrap-only, a day later: take keys that wrap nothing out of the file."),
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """
    Rotate the key ring while everything runs: a fresh key that every process knows, then all wrapped anew. Audited.

    No process is restarted, and nothing is sealed anew: data keys stay, only what wraps them changes. The new key becomes
    the current one when every running process has read it. With a secret store, do the same by hand: add the key, let it
    reach every host, make it current, and then --rewrap-only. It can be stopped, and goes on with --rewrap-only.

    An account's key is rotated at the provider: write the new one into its key_file, and workers take it within seconds.

    Example: `sms-worker keys rotate`, and a day later `sms-worker keys rotate --rewrap-only --drop`
    """
    if name is not None and not re.fullmatch(r"[\w.-]{1,40}", name):
        raise typer.BadParameter("is 1 to 40 letters, digits, dots and dashes", param_hint="--name")
    if drop and not rewrap_only:
        raise typer.BadParameter("goes with --rewrap-only, a day after the rotation", param_hint="--drop")
    count, dropped = asyncio.run(_rotate(config, name, rewrap_only=rewrap_only, drop=drop))
    gone = f"; dropped {', '.join(dropped)}" if dropped else ""
    say(f"{count} data keys wrapped anew{gone}", err=True)


async def _rotate(config: Path, name: str | None, *, rewrap_only: bool, drop: bool) -> tuple[int, list[str]]:
    async with open_tools(config) as tools:
        path, presence = tools.configuration.settings.key_ring_file, Presence(tools.database)
        current, count, dropped = "", 0, list[str]()

        def told() -> dict[str, Any]:
            return {"current": current, "data_keys": count, "dropped": dropped}

        async with auditing_the_end(tools.topics, tools.sink, "keys.rotate", told):
            if not rewrap_only:
                fresh = name or f"{tools.clock.now():%Y-%m-%d}"
                add_ring_key(path, fresh)
                await _wait_for(presence, lambda one: fresh in one.ring_keys, f"read key {fresh}")
                make_current(path, fresh)
            ring = load_key_ring(path, create=False)
            current = ring.current
            await presence.note_ring_key(current)
            await _wait_for(presence, lambda one: one.current_key == current, f"use key {current}")
            count = await _rewrap(presence, ring)
            if drop:
                dropped = await _drop(tools, presence, path, current)
        return count, dropped


async def _drop(tools: Tools, presence: Presence, path: Path, current: str) -> list[str]:
    """Take keys out that wrap nothing; a command that began before the rotation may still wrap by an old one for hours."""
    uses = {one.name: one for one in await presence.keys() if one.kind == "ring"}
    age_s = tools.clock.now().timestamp() - uses[current].since if current in uses else 0.0
    if age_s < DAY_S:
        told = f"key {current} is current for {age_s / 3600:.1f} hours; old keys are dropped after 24"
        raise ConfigurationError([Problem(str(path), None, "current", told)])
    return drop_ring_keys(path, set(uses))


async def _wait_for(presence: Presence, follows: Callable[[Process], bool], what: str) -> None:
    """
    Wait until every running process does.

    Raises:
        NotEverybody: After three minutes some do not.
    """

    async def behind() -> list[str]:
        return [one.host for one in await presence.alive() if not follows(one)]

    def tell(hosts: list[str]) -> bool:
        if hosts:
            say(f"waiting for {len(hosts)} processes to {what}: {', '.join(hosts[:5])}", err=True)
        return bool(hosts)

    waiting = AsyncRetrying(
        retry=retry_if_result(tell), wait=wait_fixed(LOOK_EVERY_S), stop=stop_after_delay(PATIENCE_S)
    )
    try:
        await waiting(behind)
    except RetryError as error:
        hosts = ", ".join(error.last_attempt.result())
        told = f"{hosts} did not {what} in {PATIENCE_S:g} s; every key stays. Once they do: --rewrap-only"
        raise NotEverybody(told) from None


async def _rewrap(presence: Presence, ring: KeyRing) -> int:
    count, last = 0, ""
    with progress() as bar:
        task = bar.add_task("data keys", total=None)
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
