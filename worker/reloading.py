"""
Routes, templates and policy reload together when a file of the folder changes; so does the key ring.

The new set is read and checked whole, by the rules of `check`; a bad one is refused, and the old one stays. What a
process cannot change while it runs (`worker.yaml`, `providers.yaml`) waits for a restart, with everything beside it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import structlog

from worker.clock import Clock
from worker.errors import ConfigurationError
from worker.routing.loading import Configuration, content_hash, load_configuration
from worker.sealing import KeyRing
from worker.secret_files import read_key_ring
from worker.telemetry import metrics

log = structlog.get_logger(__name__)
EVERY_S = 5.0
MOST_TOLD = 20


class Reloading:
    """
    Watches the configuration's folder.

    Attributes:
        configuration: What this process runs.
        refused: Why what stands in the folder is not adopted; empty if it is.
        watchers: Called at each look, for what has a file of its own, as an account's key.
        adopters: Called with a new configuration, one after the other and without a pause between.
    """

    def __init__(self, configuration: Configuration, ring: KeyRing, clock: Clock) -> None:
        self.configuration = configuration
        self.refused: list[str] = []
        self.adopters: list[Callable[[Configuration], None]] = []
        self.watchers: list[Callable[[], Awaitable[None]]] = []
        self._ring = ring
        self._clock = clock
        self._seen = self._looked = configuration.hash
        self._tell()

    async def run(self) -> None:
        """Watch for ever; belongs into a TaskGroup."""
        while True:
            await self._clock.sleep(EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Look once, and adopt what is new and right."""
        await self._look_at_keys()
        for watch in self.watchers:
            await watch()
        folder = self.configuration.folder
        if folder is None:
            return
        try:
            found = await asyncio.to_thread(content_hash, folder)
        except OSError as error:  # the folder is being replaced: the next look sees the new one
            log.warning("config.unreadable", error=str(error))
            return
        is_still, self._looked = found == self._looked, found
        if found == self._seen or not is_still:  # what was written a moment ago may be half of it
            return
        await self._read(folder, found)

    async def _read(self, folder: Path, found: str) -> None:
        """Adopt what stands in *folder*, or say why not."""
        try:
            new = await asyncio.to_thread(load_configuration, folder)
        except ConfigurationError as error:
            self._seen = found
            self._refuse("refused", [str(problem) for problem in error.problems])
            return
        except Exception as error:  # whatever is wrong with the new set, the old one goes on
            log.exception("config.failed")
            self._seen = found
            self._refuse("refused", [type(error).__name__])
            return
        if new.hash != found:
            return  # it changed while it was read
        self._seen = found
        if (why := _fixed(self.configuration, new)) is not None:
            self._refuse("needs_restart", [why])
            return
        self._adopt(new)

    def details(self) -> Mapping[str, Any]:
        """Return what readiness tells of the configuration."""
        return {"configuration": self.configuration.hash, "refused": self.refused[:MOST_TOLD]}

    def _adopt(self, new: Configuration) -> None:
        self.configuration, self.refused = new, []
        for adopt in self.adopters:
            adopt(new)
        metrics.child(metrics.RELOADS, "adopted").inc()
        log.info("config.adopted", configuration=new.hash, policy=new.policy.version)
        self._tell()

    def _refuse(self, result: str, why: list[str]) -> None:
        self.refused = why
        metrics.child(metrics.RELOADS, result).inc()
        log.error(
            "config.refused", result=result, running=self.configuration.hash, problems=why[:MOST_TOLD], count=len(why)
        )
        self._tell()

    async def _look_at_keys(self) -> None:
        """Take a rotated key ring over; one that does not read changes nothing."""
        try:
            keys, current = await asyncio.to_thread(read_key_ring, self.configuration.settings.key_ring_file)
        except ConfigurationError as error:
            log.warning("key_ring.unreadable", error=str(error))
            return
        self._ring.renew(keys, current)

    def _tell(self) -> None:
        metrics.CONFIGURATION.clear()
        metrics.CONFIGURATION.labels(self.configuration.hash).set(1)
        metrics.CONFIGURATION_REFUSED.set(bool(self.refused))


def _fixed(old: Configuration, new: Configuration) -> str | None:
    """Return why *new* cannot be adopted while the process runs."""
    if old.has_policy and not new.has_policy:
        return "policy.yaml is gone or empty: its rules are not dropped without a restart"
    changed = (
        "worker.yaml" if old.settings != new.settings else "providers.yaml" if old.accounts != new.accounts else None
    )
    return f"{changed} has changed; a restart adopts it, and all that stands beside it" if changed else None
