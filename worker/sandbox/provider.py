"""
What the sandbox does with a send, without HTTP.

Behaves as Octopush's documentation and its integrators say: unknown fields are ignored, odd values are cast, and without
`purpose` a text is `wholesale`. Numbers +33 6 00 00 xx xx ask for faults by their last four digits: +33600000104 is out of
credit, and a look-up calls +33600000181 unassigned. (The range reserved for fiction, 06 39 98, is no valid number to the
library that checks them.)
"""

import random
import re
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from worker.content.segments import segment

MAGIC = re.compile(r"^\+3360000(\d{4})$")
MAX_CHARACTERS = 1_224
PRICE_PER_SEGMENT = 0.05
REMEMBERED_TEXTS = 20_000
STATUS = {401: 401, 403: 403, 429: 429, 500: 500, 503: 503, 438: 500}
UNASSIGNED, OUT_OF_REACH = frozenset({103, 181}), 9007  # as a look-up (HLR) says
HANG, RESET, GARBAGE, ONCE, LOST_ANSWER = 9001, 9002, 9003, 9005, 9006
MESSAGES = {
    101: "bad login", 103: "no valid recipient", 104: "not enough credit", 106: "sender refused", 107: "text is missing",
    121: "STOP mention is missing", 151: "country not served", 181: "number refused", 182: "request_id already used",
    189: "text too long", 1340: "forbidden word in text", 1341: "forbidden word in sender",
}  # fmt: skip


@dataclass
class Behaviour:
    """
    What an operator of the sandbox may set.

    Attributes:
        latency_ms: Before each answer.
        error_rate: Share of sends answered by `error_code`.
        lost_rate: Share of sends that are accepted, and whose answer is lost.
        idempotency: Whether a `request_id` is remembered.
    """

    latency_ms: float = 0.0
    error_rate: float = 0.0
    error_code: int = 500
    lost_rate: float = 0.0
    idempotency: bool = True


@dataclass(frozen=True, slots=True)
class Sent:
    """A text as a phone shows it."""

    account: str
    to: str
    sender: str
    text: str
    purpose: str
    ref: str
    segments: int
    encoding: str
    cost: float
    at: str
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """
    An HTTP answer, or none.

    Attributes:
        fault: `hang`, `reset` or `garbage` instead of an answer.
    """

    status: int
    body: dict[str, Any]
    fault: str | None = None


@dataclass
class Account:
    """One login: its credit and its blacklist; a STOP covers every sender of it."""

    credit: float = 10_000.0
    blacklist: set[str] = field(default_factory=set)


class SandboxProvider:
    """Remembers what it was asked and what it "sent"."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.behaviour = behaviour or Behaviour()
        self.accounts: dict[str, Account] = {}
        self.reset()

    def reset(self) -> None:
        """Forget everything but the behaviour."""
        self.sent: deque[Sent] = deque(maxlen=REMEMBERED_TEXTS)
        self.requests: Counter[str] = Counter()
        self.texts: Counter[str] = Counter()
        self._seen: set[tuple[str, str]] = set()
        self._failed_once: set[str] = set()

    def account(self, login: str) -> Account:
        """Return the account of *login*, made on first use."""
        return self.accounts.setdefault(login, Account())

    def send(self, login: str, body: dict[str, Any], traceparent: str | None = None) -> Reply:
        """Answer `POST /sms-campaign/send`."""
        ref = str(body.get("request_id") or "")
        self.requests[ref] += 1
        to = _first_number(body.get("recipients"))
        asked = int(found.group(1)) if (found := MAGIC.match(to)) else 0
        if (fault := self._fault(asked, ref)) is not None:
            return fault
        if (code := self._refusal(login, body, to, asked, ref)) is not None:
            return error(code)
        reply = self._accept(login, body, to, ref, traceparent)
        lost = asked == LOST_ANSWER and self.requests[ref] == 1
        if lost or random.random() < self.behaviour.lost_rate:  # noqa: S311
            return Reply(0, {}, "reset")
        return reply

    def _fault(self, asked: int, ref: str) -> Reply | None:
        faults = {HANG: "hang", RESET: "reset", GARBAGE: "garbage"}
        if asked in faults:
            return Reply(0, {}, faults[asked])
        if asked == ONCE and ref not in self._failed_once:
            self._failed_once.add(ref)
            return error(500)
        if random.random() < self.behaviour.error_rate:  # noqa: S311
            return error(self.behaviour.error_code)
        return None

    def _refusal(self, login: str, body: dict[str, Any], to: str, asked: int, ref: str) -> int | None:
        text, sender = str(body.get("text") or ""), str(body.get("sender") or "")
        checks = (
            (103, not re.fullmatch(r"\+[1-9]\d{6,14}", to)),
            (asked, asked in MESSAGES or asked in STATUS),
            (107, not text),
            (106, not re.fullmatch(r"[A-Za-z0-9 ]{3,11}", sender)),
            (189, len(text) > MAX_CHARACTERS),
            (121, _purpose(body) == "wholesale" and not re.search(r"STOP au (30101|XXXXX)", text)),
            (182, self.behaviour.idempotency and bool(ref) and (login, ref) in self._seen),
            (181, to in self.account(login).blacklist),
            (104, self.account(login).credit <= 0),
        )
        return next((code for code, refused in checks if refused), None)

    def _accept(self, login: str, body: dict[str, Any], to: str, ref: str, traceparent: str | None) -> Reply:
        text = str(body["text"])
        cut = segment(text)
        cost = round(cut.segments * PRICE_PER_SEGMENT, 4)
        account = self.account(login)
        if not body.get("simulation_mode"):
            self._seen.add((login, ref))
            account.credit -= cost
            self.texts[ref.rsplit("-", 1)[0]] += 1
            at = datetime.now(UTC).isoformat(timespec="milliseconds")
            sender = str(body["sender"])
            its = (cut.segments, cut.encoding, cost, at, traceparent)
            self.sent.append(Sent(login, to, sender, text, _purpose(body), ref, *its))
        return Reply(
            201,
            {
                "sms_ticket": f"sms_{uuid4().hex[:13]}",
                "number_of_contacts": 1,
                "total_cost": cost,
                "number_of_sms_needed": cut.segments,
                "residual_credit": round(account.credit, 4),
            },
        )

    def summary(self) -> dict[str, Any]:
        """Return counts, and how often anything was texted twice."""
        return {
            "requests": self.requests.total(),
            "texts": self.texts.total(),
            "texted_twice": sorted(message for message, count in self.texts.items() if count > 1),
            "behaviour": asdict(self.behaviour),
        }


def error(code: int) -> Reply:
    """Return the answer that carries an error *code*."""
    return Reply(STATUS.get(code, 400), {"code": code, "message": MESSAGES.get(code, "error")})


def _first_number(recipients: object) -> str:
    first = recipients[0] if isinstance(recipients, list) and recipients else recipients
    number = first.get("phone_number") if isinstance(first, dict) else first
    return str(number or "").replace(" ", "")


def _purpose(body: dict[str, Any]) -> str:
    """Anything that is not `alert` is wholesale: a misspelt purpose is no error to this API."""
    return "alert" if body.get("purpose") == "alert" else "wholesale"
