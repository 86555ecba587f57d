"""Under which names a message can be taken back."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any


def scopes_of(message: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the scopes of a message, given as its lane record has it."""
    named = (("campaign", message.get("campaign")), ("route", message.get("route")), ("message", message.get("id")))
    return tuple(f"{kind}:{name}" for kind, name in named if name)


def event_at(message: Mapping[str, Any]) -> float:
    """Return the time of a message's event, seconds since 1970; 0 if it has none that reads."""
    try:
        return datetime.fromisoformat(message["event"]["time"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return 0.0
