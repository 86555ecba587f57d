"""
Logs: a dotted name and fields, one JSON object a line. No number, name, text or secret.

A last processor masks whatever looks like a number all the same: somebody else's exception may carry one.
"""

import logging
import os
import re
import sys
import time
from collections.abc import MutableMapping
from typing import Any

import orjson
import structlog

from worker.progress import current

EVERY_S, MOST_SAID = 10.0, 500
_NUMBER = re.compile(r"\+?\d[\d .()-]{7,}\d")
_ADDRESS = re.compile(r"\d{1,3}(\.\d{1,3}){3}")
_NOT_PERSONAL = frozenset(
    {"timestamp", "offset", "message_id", "event_id", "duration_s", "provider_ref", "trace_id", "at"}
)


def set_up_logging(level: str = "INFO", *, pretty: bool = False) -> None:
    """Send logs of this process, and of libraries from warnings on, to standard error."""
    numeric = logging.getLevelName(level.upper())
    colors = sys.stderr.isatty() and "NO_COLOR" not in os.environ  # https://no-color.org
    renderer: Any = structlog.processors.JSONRenderer(serializer=_dumps)
    if pretty:
        renderer = structlog.dev.ConsoleRenderer(colors=colors)
    processors: list[Any] = [
        add_place,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        mask_numbers,
    ]
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*processors[1:3], structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, mask_numbers, renderer],
        )
    )
    handler.addFilter(Sparingly())
    logging.basicConfig(level=max(numeric, logging.WARNING), handlers=[handler], force=True)


class Sparingly(logging.Filter):
    """Lets what a library says again and again pass once in ten seconds, and says how often it was meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether *record* is written."""
        key, now = (record.name, str(record.msg)[:100]), time.monotonic()
        at, kept_back = self._said.get(key, (-EVERY_S, 0))
        if now - at < EVERY_S:
            self._said[key] = at, kept_back + 1
            return False
        if len(self._said) > MOST_SAID:
            self._said.clear()
        self._said[key] = now, 0
        if kept_back:
            record.msg, record.args = f"{record.getMessage()} (and {kept_back} times since)", None
        return True


def add_place(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Say which record was being worked on, and in which trace."""
    progress = current()
    if progress is None:
        return event
    place = progress.place._asdict() if progress.place is not None else {}
    trace = {"trace_id": progress.trace_id} if progress.trace_id is not None else {}
    return {**place, **trace, **event}


def mask_numbers(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace what looks like a phone number in any text field, but for ids and times."""
    for name, value in event.items():
        if isinstance(value, str) and name not in _NOT_PERSONAL:
            event[name] = _NUMBER.sub(_masked, value)
    return event


def _masked(found: re.Match[str]) -> str:
    """Mask a number; an address of the network stays."""
    return found[0] if _ADDRESS.fullmatch(found[0]) else "<number>"


def _dumps(event: dict[str, Any], **_: Any) -> str:
    return orjson.dumps(event, default=str).decode()
