"""`skip`: give one record up."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from worker.auditing import audit_record
from worker.cli.options import DEFAULT_CONFIG, ConfigOption
from worker.cli.printing import say
from worker.kafka.scanning import fetch_records
from worker.kafka.topics import committed_offset, open_admin
from worker.records import Place, Skip
from worker.routing.table import nearest
from worker.settings import Settings
from worker.tools import open_tools
from worker.topics import Topics


def skip(
    topic: Annotated[str, typer.Argument(help="An input topic, or a lane: sms.transactional.")],
    partition: Annotated[int, typer.Argument(min=0, help="As why-stuck says.")],
    offset: Annotated[int, typer.Argument(min=0, help="As why-stuck says.")],
    reason: Annotated[str, typer.Option(help="Why; kept with the dead letter and on sms.audit.")],
    wait_s: Annotated[
        float, typer.Option("--wait", min=0, help="Seconds to wait until its dead letter is written.")
    ] = 30.0,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """
    Make one record a dead letter, whatever it is waiting for, so that what is behind it goes on. Audited.

    `sms-worker why-stuck` names the record. A request that is with the provider at this moment may still send; the ledger
    then holds it as in doubt, and a replay of the dead letter asks again only where that cannot text twice.
    """
    if not reason.strip() or len(reason) > 200:
        raise typer.BadParameter("give a reason of 1 to 200 characters", param_hint="--reason")
    raise typer.Exit(asyncio.run(_skip(Place(topic, partition, offset), reason, wait_s, config)))


async def _skip(place: Place, reason: str, wait_s: float, config: Path) -> int:
    async with open_tools(config) as tools:
        settings = tools.configuration.settings
        groups = _groups(settings)
        if (group := groups.get(place.topic)) is None:
            say(f"found topic {place.topic!r}; {nearest(place.topic, groups)}", err=True)
            return 2
        async with open_admin(settings.kafka) as admin:
            committed = await committed_offset(admin, group, place.topic, place.partition)
        if committed is not None and committed > place.offset:
            say(f"offset {place.offset} is finished: {group} has committed {committed}", err=True)
            return 1
        found = await fetch_records(settings.kafka, [place])
        if not found:
            say(f"{place.topic} has no record at partition {place.partition}, offset {place.offset}", err=True)
            return 1
        await tools.sink.publish(audit_record(tools.topics, "skip", **place._asdict(), reason=reason))
        await tools.operating.skip(place, Skip(reason, found[place].timestamp_ms), "operator")
        for _ in range(1 + int(wait_s * 4)):
            if await tools.operating.was_skipped(place):
                say("skipped; its dead letter has the reason `skipped`", err=True)
                return 0
            await asyncio.sleep(0.25)
        say("asked for; whoever reads it makes it a dead letter, but nobody has so far", err=True)
        return 1 if wait_s else 0


def _groups(settings: Settings) -> dict[str, str]:
    """Return the group that reads each topic."""
    names, prefix = Topics(settings.kafka.prefix), settings.kafka.prefix
    inputs = {
        topic.name: f"{prefix}-router-{intake}" for intake, its in settings.intakes.items() for topic in its.topics
    }
    return {**inputs, **names.lane_groups(), names.replay: f"{prefix}-router-replay"}
