"""Who may look: on loopback whoever is on this machine, otherwise whoever has the token."""

import hmac
import secrets
import time
from collections import OrderedDict
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import web

COOKIE, SESSION_S, MOST_SESSIONS, SHORTEST_TOKEN = "sms_worker_admin", 12 * 3600.0, 200, 16
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach *host*."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class Entering:
    """
    Decides who may look.

    Args:
        token: None lets in whoever reaches the port, which is on loopback then.
    """

    def __init__(self, token: str | None) -> None:
        self._token = token
        self._sessions: OrderedDict[str, float] = OrderedDict()

    def may(self, request: web.Request) -> bool:
        """Return whether *request* comes from somebody who may look."""
        if self._token is None:  # a page of elsewhere that calls itself this machine has another name in its request
            return (urlsplit(f"//{request.host}").hostname or "") in LOOPBACK_NAMES
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if bearer and self.is_token(bearer):
            return True
        ends = self._sessions.get(request.cookies.get(COOKIE, ""))
        return ends is not None and ends > time.monotonic()

    def is_token(self, given: str) -> bool:
        """Return whether *given* is the token, in a time that says nothing about it."""
        return self._token is not None and hmac.compare_digest(given.encode(), self._token.encode())

    def let_in(self, response: web.StreamResponse) -> None:
        """Remember whoever gave the token, for half a day."""
        name = secrets.token_urlsafe(32)
        self._sessions[name] = time.monotonic() + SESSION_S
        while len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        response.set_cookie(COOKIE, name, max_age=int(SESSION_S), httponly=True, samesite="Strict", path="/")


def is_ours(request: web.Request) -> bool:
    """Return whether a form was sent from one of our own pages."""
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.host
