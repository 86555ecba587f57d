"""`cancel`: take back what has not been sent yet."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import orjson
import typer

from worker.auditing import audit_record
from worker.cli.options import DEFAULT_CONFIG, ConfigOption
from worker.cli.printing import console
from worker.delivery.cancelling import scopes_of
from worker.kafka.backlog import unfinished
from worker.state.cancelling import Cancelling
from worker.tools import Tools, open_tools


def cancel(
    campaign: Annotated[str | None, typer.Option(help="Every message of a campaign.")] = None,
    route: Annotated[str | None, typer.Option(help="Every message of a route.")] = None,
    message_id: Annotated[str | None, typer.Option(help="One message.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without it, say only what would be taken back.")] = False,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """
    Take back what has not been sent yet: what waits, and what is still on a lane. Audited.

    Messages of events up to now end as `suppressed`, reason `cancelled`, each with its outcome; those of later events go.
    What is with the provider at this moment may still be sent. Exits 1 if there is nothing to take back.
    """
    given = [("campaign", campaign), ("route", route), ("message", message_id)]
    scopes = [f"{kind}:{name}" for kind, name in given if name is not None]
    if len(scopes) != 1:
        raise typer.BadParameter("give one of --campaign, --route, --message-id")
    found = asyncio.run(_cancel(config, scopes[0], yes=yes))
    for (where, why), count in sorted(found.items()):
        console().print(f"{count:>9,}  {where}  {why}", markup=False)
    total = sum(found.values())
    typer.echo(f"{total} {'taken back' if yes else 'would be taken back; --yes does it'}", err=True)
    raise typer.Exit(0 if total else 1)


async def _cancel(config: Path, scope: str, *, yes: bool) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    async with open_tools(config) as tools:
        cancelling, waiting = Cancelling(tools.database), list[str]()
        async for one in cancelling.waiting(scope):
            waiting.append(one.message_id)
            found["waits", one.reason] += 1
        seen = set(waiting)
        async for name, topic in _on_lanes(tools, scope):
            if name not in seen:
                seen.add(name)
                found["on a lane", topic] += 1
        if yes:
            told = {"scope": scope, "messages": sum(found.values())}
            await tools.sink.publish(audit_record(tools.topics, "cancel", **told))
            await cancelling.cancel(scope, waiting)
    return found


async def _on_lanes(tools: Tools, scope: str) -> AsyncIterator[tuple[str, str]]:
    """Yield messages of *scope* that no lane's group has finished, with their topic."""
    async for record in unfinished(tools.configuration.settings.kafka, tools.topics.lane_groups()):
        try:
            message = orjson.loads(record.value or b"{}")
        except orjson.JSONDecodeError:
            continue
        if isinstance(message, dict) and scope in scopes_of(message):
            yield str(message.get("id")), record.topic
