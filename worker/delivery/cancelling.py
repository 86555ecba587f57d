"""Under which names a message can be taken back."""

from collections.abc import Mapping
from typing import Any


def scopes_of(message: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the scopes of a message, given as its lane record has it."""
    named = (("campaign", message.get("campaign")), ("route", message.get("route")), ("message", message.get("id")))
    return tuple(f"{kind}:{name}" for kind, name in named if name)
