"""What a record is waiting for right now, so that whoever asks why nothing moves gets an answer."""

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
    """

    __slots__ = ("place", "since", "step")

    def __init__(self, place: Place | None = None) -> None:
        self.place = place
        self.step = Step.QUEUED
        self.since = time.monotonic()

    def at(self, step: Step) -> None:
        """Note that the record has come to *step*."""
        self.step = step
        self.since = time.monotonic()


_current: ContextVar[Progress | None] = ContextVar("progress", default=None)


def follow(progress: Progress) -> None:
    """Let what this task does from now on be noted in *progress*."""
    _current.set(progress)


def current_place() -> Place | None:
    """Return where this task's record is kept, if somebody follows it."""
    progress = _current.get()
    return None if progress is None else progress.place


def at(step: Step) -> None:
    """Note where this task's record is, if somebody follows it."""
    progress = _current.get()
    if progress is not None:
        progress.at(step)
