"""Dead letters as an operator sees them, and which of them are meant."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from worker.records import Place, Record

ROUTER_STAGE = "router"
# A letter that failed again after three replays is left alone until somebody says otherwise.
MOST_REPLAYS = 3


@dataclass(frozen=True)
class Letter:
    """
    A dead letter.

    Attributes:
        record: As it stands in the dead-letter topic.
    """

    record: Record

    @cached_property
    def headers(self) -> dict[str, str]:
        """Its `x-dlq-*` headers, without that prefix."""
        return {
            name.removeprefix("x-dlq-"): value.decode(errors="replace")
            for name, value in self.record.headers
            if name.startswith("x-dlq-") and name != "x-dlq-original"
        }

    @property
    def place(self) -> Place:
        """Where it is."""
        return self.record.place

    @property
    def time_ms(self) -> int:
        """When it became one, in milliseconds since 1970."""
        return self.record.timestamp_ms

    @property
    def reason(self) -> str:
        """Its reason code."""
        return self.headers.get("reason", "")

    @property
    def stage(self) -> str:
        """`router`, or the lane."""
        return self.headers.get("stage", "")

    @property
    def sealed_for(self) -> str:
        """Whose key opens it."""
        return self.headers.get("sealed-for", "")

    @property
    def replays(self) -> int:
        """How often it was put back before."""
        attempts = self.headers.get("attempts", "1")
        return int(attempts) - 1 if attempts.isdigit() else 0

    @property
    def is_whole(self) -> bool:
        """Whether it holds its original, value and all."""
        return self.headers.get("content") == "whole" and self.reason != "unreadable"


def agrees(wanted: Mapping[str, str | None], told: Mapping[str, Any]) -> bool:
    """Return whether *told* has every value that is *wanted*; what is None does not matter."""
    return all(value is None or told.get(name) == value for name, value in wanted.items())


@dataclass(frozen=True, kw_only=True)
class LetterFilter:
    """Which letters are meant; what is None does not matter, and what is given must all hold."""

    reason: str | None = None
    stage: str | None = None
    event_type: str | None = None
    route: str | None = None
    template: str | None = None
    campaign: str | None = None
    event_id: str | None = None
    key: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def means(self, letter: Letter) -> bool:
        """Return whether *letter* is meant."""
        told = letter.headers
        wanted = {
            "reason": self.reason,
            "stage": self.stage,
            "event-type": self.event_type,
            "route": self.route,
            "template": self.template,
            "campaign": self.campaign,
            "event-id": self.event_id,
        }
        if not agrees(wanted, told):
            return False
        if self.key is not None and (letter.record.key or b"").decode(errors="replace") != self.key:
            return False
        time = letter.record.time
        return (self.since is None or time >= self.since) and (self.until is None or time < self.until)

    def told(self) -> dict[str, str]:
        """Return what is given, for the audit."""
        return {name: str(value) for name, value in vars(self).items() if value is not None}
