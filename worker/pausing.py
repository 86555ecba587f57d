"""What operators paused, as this process knows: lanes, accounts and routes that begin nothing new until they resume."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import structlog

from worker.clock import Clock
from worker.telemetry import metrics

log = structlog.get_logger(__name__)
KINDS = ("lane", "account", "route")
MOST_SCOPES, LONGEST_SCOPE, LONGEST_REASON = 500, 120, 200
FILE_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Pause:
    """Why something is paused, who said so, and when (ISO 8601)."""

    reason: str = ""
    by: str = ""
    at: str = ""


def is_scope(scope: str) -> bool:
    """Return whether *scope* is `lane:NAME`, `account:NAME` or `route:ID`."""
    kind, _, name = scope.partition(":")
    return kind in KINDS and bool(name) and len(scope) <= LONGEST_SCOPE


class Pauses:
    """
    Knows what is paused, from the control topic and from a file; either is enough.

    Args:
        tells: In the log and as a metric; for a process that obeys, and not for one that only looks.

    Attributes:
        on_change: Called with each scope that pauses or resumes.
    """

    def __init__(self, *, tells: bool = True) -> None:
        self._tells = tells
        self._said: dict[str, Mapping[str, Pause]] = {}
        self._paused: dict[str, Pause] = {}
        self.on_change: list[Callable[[str], None]] = []

    @property
    def paused(self) -> Mapping[str, Pause]:
        """What is paused, by scope."""
        return self._paused

    def of(self, kind: str, name: str) -> Pause | None:
        """Return why a lane, account or route is paused; None if it is not."""
        return self._paused.get(f"{kind}:{name}") if self._paused else None

    def adopt(self, source: str, paused: Mapping[str, Pause]) -> None:
        """Take over what *source* (`topic`, `file`) says is paused, all of it; tell who must know."""
        before = self._paused
        self._said[source] = {scope: pause for scope, pause in list(paused.items())[:MOST_SCOPES] if is_scope(scope)}
        self._paused = {scope: pause for said in self._said.values() for scope, pause in said.items()}
        changes = sorted(before.keys() ^ self._paused.keys())
        if self._tells:
            self._tell(source, changes)
        for scope in changes:
            for changed in self.on_change:
                changed(scope)

    def _tell(self, source: str, changes: Iterable[str]) -> None:
        for scope in changes:
            pause = self._paused.get(scope)
            log.warning(
                "operator.paused" if pause else "operator.resumed", scope=scope, source=source, **(_fields(pause))
            )
        metrics.PAUSED.clear()
        for scope in self._paused:
            metrics.PAUSED.labels(scope).set(1)


class PauseFile:
    """
    Reads a file of scopes, one a line (`lane:marketing  # why`): for when Kafka is down.

    Args:
        path: Need not exist.

    Attributes:
        on_change: Called with each scope that the file pauses, and why, or resumes, and None; not for what it says at first.
    """

    def __init__(self, path: Path, pauses: Pauses, clock: Clock) -> None:
        self._path = path
        self._pauses = pauses
        self._clock = clock
        self._read: bytes | None = None
        self._said: Mapping[str, Pause] = {}
        self.on_change: list[Callable[[str, Pause | None], None]] = []

    async def run(self) -> None:
        """Look for ever; belongs into a TaskGroup."""
        while True:
            self.look()
            await self._clock.sleep(FILE_EVERY_S)

    def look(self) -> None:
        """Read the file if it has changed; one that cannot be read changes nothing."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            content = b""
        except OSError as error:
            log.warning("pause_file.unreadable", file=str(self._path), error=error.strerror)
            return
        if content != self._read:
            self._read, before = content, self._said
            self._said = dict(list(scopes_in(content.decode(errors="replace")).items())[:MOST_SCOPES])
            self._pauses.adopt("file", self._said)
            for scope in sorted(before.keys() ^ self._said.keys()):
                for changed in self.on_change:
                    changed(scope, self._said.get(scope))


def scopes_in(text: str) -> dict[str, Pause]:
    """Return what a pause file says is paused; lines that are no scope are left out."""
    found: dict[str, Pause] = {}
    for line in text.splitlines():
        scope, _, reason = line.partition("#")
        if is_scope(scope.strip()):
            found[scope.strip()] = Pause(reason.strip()[:LONGEST_REASON], "file")
    return found


def written(scope: str, *, paused: bool, pause: Pause) -> tuple[bytes, bytes]:
    """Return the key and the value of the control topic's record that pauses or resumes *scope*."""
    return scope.encode(), orjson.dumps({"paused": paused, **_fields(pause)})


def read(key: bytes | None, value: bytes | None) -> tuple[str, Pause | None] | None:
    """Return the scope that a record is about, and its pause; None for a record that says nothing of the kind."""
    scope = (key or b"").decode(errors="replace")
    if not is_scope(scope):
        return None
    try:
        told: Any = orjson.loads(value) if value else {}
    except orjson.JSONDecodeError:
        return None
    if not isinstance(told, dict) or told.get("paused") is not True:
        return scope, None
    reason, by, at = (str(told.get(name) or "")[:LONGEST_REASON] for name in ("reason", "by", "at"))
    return scope, Pause(reason, by, at)


def _fields(pause: Pause | None) -> dict[str, str]:
    return {"reason": pause.reason, "by": pause.by, "at": pause.at} if pause else {}
