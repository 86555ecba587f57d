"""
Octopush, HTTP API v1.

Its answers' codes are not documented in one place; the table below is what integrators branch on. The API ignores a
field that it does not understand and sends all the same, so everything it must understand is written out here:
without `purpose` a login code would go out as advertising.
Source: https://dev.octopush.com, checked 2026-11.
"""

import errno
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import aiohttp
import orjson
from pydantic import SecretStr

from worker.delivery.accounts import Account
from worker.delivery.ledger import Answer
from worker.delivery.verdicts import Line, ProviderReason, Sms, Submitted
from worker.errors import DeadLetterReason, LookUpFailed
from worker.progress import trace_id_in
from worker.telemetry.tracing import spans

Credentials = tuple[str, SecretStr]  # login and key
MAX_ANSWER_BYTES, MAX_LINES_BYTES = 64 * 1024, 1024 * 1024
# Of one message: beyond them, what an answer says of money and segments is none.
MOST_COST, MOST_CREDIT, MOST_SEGMENTS, MOST_CODE_DIGITS = 100.0, 1e9, 100, 6
LOOK_UP_DEADLINE_S = 60.0  # registers abroad are asked one by one
LONG_HOLD_S, RATE_HOLD_S = 30.0, 2.0


def _refused(reason: ProviderReason = ProviderReason.RECIPIENT_REFUSED) -> Submitted:
    return Submitted(answer=Answer.RECIPIENT_REFUSED, reason=reason)


def _our_fault(reason: ProviderReason, letter: DeadLetterReason) -> Submitted:
    return Submitted(answer=Answer.OUR_FAULT, reason=reason, dead_letter=letter)


def _account(reason: ProviderReason) -> Submitted:
    """A definite refusal that has nothing to do with this message: it waits for the account."""
    return Submitted(answer=Answer.OUR_FAULT, reason=reason, hold_s=LONG_HOLD_S)


_TEXT = _our_fault(ProviderReason.TEXT_REFUSED, DeadLetterReason.TEXT_REFUSED)
_SENDER = _our_fault(ProviderReason.SENDER_REFUSED, DeadLetterReason.SENDER_REFUSED)
_UNREADABLE = Submitted(answer=Answer.AMBIGUOUS, reason=ProviderReason.UNREADABLE_ANSWER)
# Whoever answered may have taken it. It is not followed: login, key, number and text would go to another host.
_REDIRECTED = Submitted(answer=Answer.AMBIGUOUS, reason=ProviderReason.REDIRECTED, hold_s=LONG_HOLD_S)
_AGAIN = Submitted(answer=Answer.AMBIGUOUS, reason=ProviderReason.SERVER_ERROR)

CODES: Mapping[int, Submitted] = {
    101: _account(ProviderReason.BAD_CREDENTIALS),  # bad login
    103: _refused(ProviderReason.NUMBER_REFUSED),  # no valid recipient
    104: _account(ProviderReason.NO_CREDIT),
    106: _SENDER,
    107: _TEXT,  # text missing
    113: _account(ProviderReason.BAD_CREDENTIALS),  # account not validated yet
    114: _account(ProviderReason.BAD_CREDENTIALS),  # under investigation
    121: _TEXT,  # STOP mention missing
    150: _refused(),  # no country for this prefix
    151: _refused(),  # country not served
    153: _AGAIN,  # route congested
    181: _refused(ProviderReason.NUMBER_REFUSED),  # unassigned, or on the account's own STOP list
    182: Submitted(answer=Answer.ALREADY_SEEN, reason=ProviderReason.ALREADY_SEEN),
    189: _TEXT,  # too long
    401: _account(ProviderReason.BAD_CREDENTIALS),
    403: _account(ProviderReason.BAD_CREDENTIALS),
    438: _AGAIN,
    500: _AGAIN,
    1340: _TEXT,  # forbidden word in the text
    1341: _SENDER,  # forbidden word in the sender
}
UNKNOWN = _our_fault(ProviderReason.UNKNOWN_CODE, DeadLetterReason.UNKNOWN_PROVIDER_CODE)


class Octopush:
    """One account at Octopush; opened by `open_octopush`."""

    name = "octopush"

    def __init__(self, session: aiohttp.ClientSession, account: Account, credentials: Credentials) -> None:
        self._session = session
        self._url = account.base_url.rstrip("/") + "/sms-campaign/send"
        self._simulation_mode = account.simulation_mode
        self.renew(credentials)

    def renew(self, credentials: Credentials) -> None:
        """Use other *credentials* from the next request on."""
        self._headers = _named(credentials)
        self._is_sendable = all(value.isprintable() for value in self._headers.values())

    async def send(self, sms: Sms, ref: str) -> Submitted:
        """Submit *sms*; one recipient a request, so that a ticket is a message."""
        if not self._is_sendable:  # no header carries them: it waits for the account, as for a wrong key
            return _account(ProviderReason.BAD_CREDENTIALS)
        body = orjson.dumps(
            {
                "recipients": [{"phone_number": sms.to}],
                "text": sms.text,
                "sender": sms.sender,
                "type": "sms_premium",
                "purpose": "wholesale" if sms.marketing else "alert",
                "auto_optimize_text": False,
                "simulation_mode": self._simulation_mode,
                "request_id": ref,
            }
        )
        try:
            headers = _with_trace(self._headers, sms.traceparent)
            async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
                return classify(response.status, response.headers, await _read(response))
        except aiohttp.ClientConnectorError as error:
            return _not_connected(error)
        except (aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL):  # before a byte of the request was written
            return Submitted(answer=Answer.NOT_SENT, reason=ProviderReason.CONNECT_FAILED)
        except TimeoutError:
            return Submitted(answer=Answer.AMBIGUOUS, reason=ProviderReason.TIMED_OUT)
        except aiohttp.ClientError:
            return Submitted(answer=Answer.AMBIGUOUS, reason=ProviderReason.CONNECTION_LOST)


class OctopushLines:
    """Home register look-ups at Octopush (`hlr-request`); opened by `open_lines`."""

    def __init__(self, session: aiohttp.ClientSession, account: Account, credentials: Credentials) -> None:
        self._session = session
        self._headers = _named(credentials)
        self._url = account.base_url.rstrip("/") + "/contact/hlr-request"
        self._simulation_mode = account.simulation_mode

    async def look_up(self, numbers: Sequence[str]) -> dict[str, Line]:
        """
        Return what the registers say of *numbers*; of one that the answer leaves out, nothing.

        Raises:
            LookUpFailed: No answer, or none that reads.
        """
        body = orjson.dumps({"phone_numbers": list(numbers), "simulation_mode": self._simulation_mode})
        try:
            async with self._session.post(
                self._url, data=body, headers=self._headers, allow_redirects=False
            ) as response:
                status, content = response.status, await _read(response, MAX_LINES_BYTES)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:  # the last: a key that no header carries
            raise LookUpFailed(f"octopush does not answer a look-up: {type(error).__name__}") from error
        try:
            rows = orjson.loads(content)
        except orjson.JSONDecodeError:
            rows = None
        if status != HTTPStatus.OK or not isinstance(rows, list):
            code = _number(rows.get("code")) if isinstance(rows, dict) else None
            raise LookUpFailed(f"octopush answered a look-up with HTTP {status}, code {code or 'none'}")
        found = (row for row in rows if isinstance(row, dict))
        return {str(row["phone_number"]): line_of(row) for row in found if row.get("phone_number")}


def line_of(row: Mapping[str, Any]) -> Line:
    """
    Return what a row of an answer means.

    Only a number that is not assigned is dead. Off, out of reach and "cannot say" are no verdict; the values of
    `line_status` beside "live" are not documented, so none of them is taken for one.
    """
    if row.get("status") == "invalid":
        return Line.DEAD
    return Line.LIVE if row.get("status") == "valid" and row.get("line_status") == "live" else Line.UNDECIDED


def _named(credentials: Credentials) -> dict[str, str]:
    login, key = credentials
    return {"api-login": login, "api-key": key.get_secret_value()}


async def _read(response: aiohttp.ClientResponse, most: int = MAX_ANSWER_BYTES) -> bytes:
    """Return the whole answer, up to a limit: one read gives only what has arrived by then."""
    content = b""
    while len(content) < most and (chunk := await response.content.read(most)):
        content += chunk
    return content


def classify(status: int, headers: Mapping[str, str], content: bytes) -> Submitted:
    """Return what an answer means. Anything that is not understood is never read as "not sent"."""
    if status == 429:
        return Submitted(
            answer=Answer.NOT_SENT,
            reason=ProviderReason.RATE_LIMITED,
            code="429",
            hold_s=_retry_after_s(headers),
        )
    if 300 <= status < 400:
        return _coded(_REDIRECTED, status)
    if status in (401, 403):
        return _coded(CODES[status], status)
    body = _json(content)
    if body is None or (200 <= status < 300 and not body.get("sms_ticket")):
        return _coded(_AGAIN if status >= 500 else _UNREADABLE, status)
    if 200 <= status < 300:
        return _accepted(body)
    code = _number(body.get("code"))
    if code in CODES:
        return _coded(CODES[code], code)
    return _coded(_AGAIN if status >= 500 else UNKNOWN, code or status)


def _accepted(body: Mapping[str, Any]) -> Submitted:
    ticket, segments, contacts = (
        body.get(name) for name in ("sms_ticket", "number_of_sms_needed", "number_of_contacts")
    )
    if contacts not in (None, 1) or isinstance(ticket, bool) or not isinstance(ticket, str | int):
        return _coded(_UNREADABLE, HTTPStatus.OK)  # that nobody gets it, or more than one, proves nothing
    return Submitted(
        answer=Answer.ACCEPTED,
        provider_ref="".join(one for one in str(ticket)[:100] if one.isprintable()),
        cost=_amount(body.get("total_cost"), 0.0, MOST_COST),
        currency="EUR",
        segments=segments if type(segments) is int and 1 <= segments <= MOST_SEGMENTS else None,
        credit=_amount(body.get("residual_credit"), -MOST_CREDIT, MOST_CREDIT),
    )


def _amount(value: object, least: float, most: float) -> float | None:
    """Return a sum of money; None for what cannot be one: then it costs what is reckoned here."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and least <= value <= most else None  # type: ignore[operator,arg-type]


def _coded(meaning: Submitted, code: int) -> Submitted:
    return Submitted(
        answer=meaning.answer,
        reason=meaning.reason,
        code=str(code),
        hold_s=meaning.hold_s,
        dead_letter=meaning.dead_letter,
    )


def _json(content: bytes) -> Mapping[str, Any] | None:
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
    return body if isinstance(body, dict) else None


def _number(code: object) -> int:
    """Return a code, which this API writes as a number and leniently may write as text; 0 for none."""
    written = str(code) if type(code) is int else code
    is_code = (
        isinstance(written, str) and len(written) <= MOST_CODE_DIGITS and written.isascii() and written.isdecimal()
    )
    return int(written) if is_code else 0  # type: ignore[call-overload]


def _retry_after_s(headers: Mapping[str, str]) -> float:
    value = headers.get("Retry-After", "")
    return min(float(value), 300.0) if value.isdecimal() else RATE_HOLD_S


def _not_connected(error: aiohttp.ClientConnectorError) -> Submitted:
    """Refused or unreachable: nothing was sent. Out of file handles is ours, and passes the same way."""
    code = errno.errorcode.get(error.os_error.errno or 0) if error.os_error else None
    return Submitted(answer=Answer.NOT_SENT, reason=ProviderReason.CONNECT_FAILED, code=code)


@asynccontextmanager
async def open_octopush(account: Account, credentials: Credentials) -> AsyncIterator[Octopush]:
    """Open the account's connections; they close when the block ends."""
    async with _session(account, account.http_deadline_s) as session:
        yield Octopush(session, account, credentials)


@asynccontextmanager
async def open_lines(account: Account, credentials: Credentials) -> AsyncIterator[OctopushLines]:
    """Open what looks numbers up; it closes when the block ends."""
    async with _session(account, LOOK_UP_DEADLINE_S) as session:
        yield OctopushLines(session, account, credentials)


@asynccontextmanager
async def _session(account: Account, deadline_s: float) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Content-Type": "application/json", "cache-control": "no-cache"}
    timeout = aiohttp.ClientTimeout(total=deadline_s, connect=deadline_s / 2)
    connector = aiohttp.TCPConnector(limit=account.max_in_flight, keepalive_timeout=30)
    async with aiohttp.ClientSession(
        headers=headers, timeout=timeout, connector=connector, auto_decompress=True
    ) as session:
        yield session


def _with_trace(headers: Mapping[str, str], of_event: str | None) -> Mapping[str, str]:
    """Return *headers*, with the trace that the request belongs to, if there is one."""
    traceparent = spans().traceparent() or (of_event if trace_id_in(of_event) else None)
    return {**headers, "traceparent": traceparent} if traceparent else headers
