"""`cancel`: take back what has not been sent yet."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from worker.auditing import audit_record
from worker.cli.options import DEFAULT_CONFIG, ConfigOption
from worker.cli.printing import console, say
from worker.delivery.cancelling import event_at, scopes_of
from worker.kafka.backlog import unfinished
from worker.state.cancelling import Cancelling
from worker.tools import Tools, open_tools


def cancel(
    campaign: Annotated[str | None, typer.Option(help="Every message of a campaign.")] = None,
    route: Annotated[str | None, typer.Option(help="Every message of a route.")] = None,
    message_id: Annotated[str | None, typer.Option(help="One message.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without it, say only what would be taken back.")] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Let them go again: later messages, and those that have not ended yet.")
    ] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """
    Take back what has not been sent yet: what waits, and what is still on a lane. Audited.

    Messages of events up to now end as `suppressed`, reason `cancelled`, each with its outcome; those of later events go.
    What is with the provider at this moment may still be sent. Exits 1 if there is nothing to take back.

    Example: `sms-worker cancel --campaign spring-sale`, then the same with `--yes`
    """
    given = [("campaign", campaign), ("route", route), ("message", message_id)]
    scopes = [f"{kind}:{name}" for kind, name in given if name is not None]
    if len(scopes) != 1:
        raise typer.BadParameter("give one of --campaign, --route, --message-id")
    if undo:
        had = asyncio.run(_undo(config, scopes[0]))
        say(f"{scopes[0]}: {'goes again' if had else 'was not taken back'}", err=True)
        raise typer.Exit(0 if had else 1)
    found = asyncio.run(_cancel(config, scopes[0], yes=yes))
    for (where, why), count in sorted(found.items()):
        console().print(f"{count:>9,}  {where}  {why}", markup=False)
    total = sum(found.values())
    say(f"{total} {'taken back' if yes else 'would be taken back; --yes does it'}", err=True)
    raise typer.Exit(0 if total else 1)


async def _cancel(config: Path, scope: str, *, yes: bool) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    async with open_tools(config, in_need=True) as tools:
        cancelling, waiting, latest = Cancelling(tools.database), list[str](), 0.0
        async for one in cancelling.waiting(scope):
            waiting.append(one.message_id)
            latest = max(latest, one.event_at)
            found["waits", one.reason] += 1
        seen = set(waiting)
        async for message, topic in _on_lanes(tools, scope):
            latest = max(latest, event_at(message))
            if message.get("id") not in seen:
                seen.add(str(message.get("id")))
                found["on a lane", topic] += 1
        if yes:
            told = {"scope": scope, "messages": sum(found.values())}
            await tools.sink.publish(audit_record(tools.topics, "cancel", **told))
            await cancelling.cancel(scope, waiting, latest)
    return found


async def _undo(config: Path, scope: str) -> bool:
    async with open_tools(config, in_need=True) as tools:
        await tools.sink.publish(audit_record(tools.topics, "cancel.undo", scope=scope))
        return await Cancelling(tools.database).undo(scope)


async def _on_lanes(tools: Tools, scope: str) -> AsyncIterator[tuple[dict[str, Any], str]]:
    """Yield messages of *scope* that no lane's group has finished, with their topic."""
    async for record in unfinished(tools.configuration.settings.kafka, tools.topics.lane_groups()):
        try:
            message = orjson.loads(record.value or b"{}")
        except orjson.JSONDecodeError:
            continue
        if isinstance(message, dict) and scope in scopes_of(message):
            yield message, record.topic
