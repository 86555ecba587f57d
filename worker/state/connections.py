"""
What every connection to PostgreSQL is told, so that no process that froze, and no server that was demoted, holds the others.

Whoever stands still inside a transaction holds its locks, and with the account's lock every process's codes. So the server
ends such a session, every wait for a lock or an answer has an end, and a peer that is gone is noticed by TCP.
"""

import socket
from collections.abc import Callable
from typing import Any

import structlog
from sqlalchemy.engine import ExceptionContext

from worker.errors import ConfigurationError, StateUnavailable
from worker.servers import DatabaseSettings

log = structlog.get_logger(__name__)
IDLE_IN_TRANSACTION_S = 5.0  # a fence takes milliseconds; a loop that is blocked for so long has lost its turn
LOCK_SHARE = 0.8  # of a statement's time: whoever waits for a lock outlives an idle transaction, and says so itself
KEEPALIVE_IDLE_S, KEEPALIVE_EVERY_S, KEEPALIVES, UNACKNOWLEDGED_S = 10, 3, 3, 15
# SQLSTATE: a read-only transaction, on a server that was demoted; and what says that the server ends or ended.
USELESS = ("25006", "57P01", "57P02", "57P03", "25P03", "25P04"), "08"


def bounds(settings: DatabaseSettings) -> dict[str, str]:
    """Return the server's own bounds for a session, in milliseconds, and in seconds for TCP."""
    statement_ms = int(settings.statement_timeout_s * 1000)
    return {
        "statement_timeout": str(statement_ms),
        "lock_timeout": str(int(statement_ms * LOCK_SHARE)),
        "idle_in_transaction_session_timeout": str(int(IDLE_IN_TRANSACTION_S * 1000)),
        "tcp_keepalives_idle": str(KEEPALIVE_IDLE_S),
        "tcp_keepalives_interval": str(KEEPALIVE_EVERY_S),
        "tcp_keepalives_count": str(KEEPALIVES),
        "tcp_user_timeout": str(UNACKNOWLEDGED_S * 1000),
    }


def notice_a_dead_peer(connection: Any, _: object) -> None:
    """Let the client's side of a connection notice a server that is gone."""
    its = connection.driver_connection._transport.get_extra_info("socket")  # noqa: SLF001  asyncpg offers no other way
    if its is None or its.family not in (socket.AF_INET, socket.AF_INET6):
        return
    its.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", KEEPALIVE_EVERY_S),
        ("TCP_KEEPCNT", KEEPALIVES),
        ("TCP_USER_TIMEOUT", UNACKNOWLEDGED_S * 1000),
    ):
        if (option := getattr(socket, name, None)) is not None:
            its.setsockopt(socket.IPPROTO_TCP, option, value)


def require_writable(connection: Any, _: object) -> None:
    """
    Keep no connection to a server that takes no writes.

    Raises:
        StateUnavailable: It is a replica, or was demoted.
    """
    cursor = connection.cursor()
    try:
        cursor.execute("SHOW transaction_read_only")
        (read_only,) = cursor.fetchone()
    finally:
        cursor.close()
    if read_only == "on":
        raise StateUnavailable("the database's server takes no writes: it is a replica, or was demoted")


def discard_if_useless(context: ExceptionContext) -> None:
    """Close connections, this one and all of before, after an error that they would all give from now on."""
    state = str(getattr(context.original_exception, "sqlstate", None) or "")
    states, prefix = USELESS
    if state in states or state.startswith(prefix):
        context.is_disconnect = True


def trusting(settings: DatabaseSettings) -> Callable[..., None]:
    """Return what gives each new connection the authorities of now; those of before, while their file is half written."""
    last = settings.tls()

    def trust(_: object, __: object, ___: object, options: dict[str, Any]) -> None:
        nonlocal last
        try:
            last = settings.tls()
        except ConfigurationError as error:
            log.warning("state.authorities_unreadable", error=str(error))
        options["ssl"] = last

    return trust
