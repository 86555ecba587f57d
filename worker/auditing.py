"""What operators did, on `sms.audit`: who, when, what and why, and nobody's number."""

import getpass
import socket
from datetime import UTC, datetime
from typing import Any

import orjson

from worker import __version__
from worker.records import Outgoing
from worker.topics import Topics


def operator() -> str:
    """Return who runs this command."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):
        return "unknown"


def audit_record(topics: Topics, action: str, **told: Any) -> Outgoing:
    """Return the record that says an operator did *action*."""
    said = {"action": action, "at": datetime.now(UTC), "by": operator(), "worker_version": __version__, **told}
    return Outgoing(topics.audit, None, orjson.dumps(said, option=orjson.OPT_UTC_Z))
