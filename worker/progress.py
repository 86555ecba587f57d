"""What a record is waiting for right now, so that whoever asks why nothing moves gets an answer."""

import re
import time
from contextvars import ContextVar
from enum import StrEnum

from worker.records import Place


class Step(StrEnum):
    """Where a record is on its way: the closed list behind `why-stuck`."""

    QUEUED = "queued"
    DECIDING = "deciding"
    LOOKUP = "lookup"
    FENCE = "fence"
    SUBMIT = "submit"
    SETTLE = "settle"
    PUBLISH = "publish"
    UNDER_WAY = "under_way_elsewhere"


class Progress:
    """
    One record's.

    Attributes:
        place: Where the record is kept; every log line of its task says so.
        step: Where it is.
        since: Monotonic seconds when it got there.
        trace_id: Of its event, 32 hex digits, if its emitter traces; every log line of its task says that too.
    """

    __slots__ = ("place", "since", "step", "trace_id")

    def __init__(self, place: Place | None = None) -> None:
        self.place = place
        self.step = Step.QUEUED
        self.since = time.monotonic()
        self.trace_id: str | None = None

    def at(self, step: Step) -> None:
        """Note that the record has come to *step*."""
        self.step = step
        self.since = time.monotonic()


_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?P<trace_id>[0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}\Z")
_current: ContextVar[Progress | None] = ContextVar("progress", default=None)


def follow(progress: Progress) -> None:
    """Let what this task does from now on be noted in *progress*."""
    _current.set(progress)


def current() -> Progress | None:
    """Return the progress of this task's record, if somebody follows it."""
    return _current.get()


def trace_id_in(traceparent: str | None) -> str | None:
    """
    Return the trace id in a W3C `traceparent`, 32 hex digits; None if there is none.

    Source: https://www.w3.org/TR/trace-context/#traceparent-header
    """
    found = _TRACEPARENT.match(traceparent) if traceparent else None
    return found["trace_id"] if found and found["trace_id"].strip("0") else None


def traced(traceparent: str | None) -> str | None:
    """Return the trace id in a `traceparent`, noted for this task's log lines; None if there is none."""
    trace_id = trace_id_in(traceparent)
    progress = _current.get()
    if progress is not None:
        progress.trace_id = trace_id
    return trace_id


def at(step: Step) -> None:
    """Note where this task's record is, if somebody follows it."""
    progress = _current.get()
    if progress is not None:
        progress.at(step)
