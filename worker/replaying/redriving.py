"""Redrive: messages that a bad deploy suppressed or a provider refused for it go through every check again."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from schemas.messages import Message
from schemas.outcomes import OutcomeKind
from worker.auditing import audit_record, auditing_the_end
from worker.delivery.deferrals import Deferral
from worker.delivery.ledger import reopen
from worker.kafka.scanning import fetch_records, scan
from worker.messages import message_in, written
from worker.policy.verdicts import Reason
from worker.records import Place, Record
from worker.replaying.judging import EXPIRED, QUARANTINED, Judge
from worker.replaying.letters import MOST_REPLAYS, Letter, agrees
from worker.replaying.live_first import LiveFirst, open_live_first
from worker.state.redriving import Redriving
from worker.tools import Tools

PIECE = 50
KEPT = ("message_id", "origin", "category", "template", "reason")
REDRIVEN, HANDED_OVER, WAITS_ALREADY = "redriven", "not proven unsent", "goes again already"
ORIGIN_GONE, NO_MESSAGE, NEEDS_YES_MARKETING = (
    "origin is gone",
    "origin is no message",
    "marketing, needs --yes-marketing",
)
# Only these two can be the fault of a deploy, and only of these the ledger can prove that nothing was handed over.
KINDS = (OutcomeKind.REJECTED, OutcomeKind.SUPPRESSED)


@dataclass(frozen=True, kw_only=True)
class OutcomeFilter:
    """Which outcomes are meant; what is None does not matter."""

    kind: OutcomeKind
    reason: str | None = None
    template: str | None = None
    template_version: str | None = None
    route: str | None = None
    campaign: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def means(self, record: Record, told: dict[str, Any]) -> bool:
        """Return whether the outcome in *record*, whose data is *told*, is meant."""
        wanted = {
            "outcome": self.kind.value,
            "reason": self.reason,
            "template": self.template,
            "template_version": self.template_version,
            "route": self.route,
            "campaign": self.campaign,
        }
        if not agrees(wanted, told):
            return False
        return "message_id" in told and (self.until is None or record.time < self.until)

    def told(self) -> dict[str, str]:
        """Return what is given, for the audit."""
        return {name: str(value) for name, value in vars(self).items() if value is not None}


async def chosen_outcomes(tools: Tools, wanted: OutcomeFilter) -> list[dict[str, Any]]:
    """Return what is needed of the outcomes that *wanted* means, each message once, as it stands last."""
    found: dict[str, dict[str, Any]] = {}
    async for record in scan(tools.configuration.settings.kafka, [tools.topics.outcomes], wanted.since):
        told = orjson.loads(record.value or b"{}").get("data", {})
        if wanted.means(record, told):
            found[told["message_id"]] = {name: told.get(name) for name in KEPT}
        elif told.get("outcome") not in (OutcomeKind.DEFERRED, wanted.kind):
            found.pop(told.get("message_id", ""), None)  # something else came of it later
    return list(found.values())


class Redrive:
    """
    Lets messages go again.

    Args:
        rate: Messages a second.
        really: Do it; else say what would be done.
        tell: Called after each piece with how many are done, and with what the run waits for.

    Attributes:
        became: What became of the messages; adds up to those that were looked at.
        decided: What today's rules would decide of those that go, and would leave.
    """

    def __init__(
        self,
        tools: Tools,
        *,
        rate: float,
        yes_marketing: bool,
        really: bool,
        tell: Callable[[int, str], None] = lambda _done, _waits_for: None,
    ) -> None:
        self._tools = tools
        self._rate = rate
        self._yes_marketing = yes_marketing
        self._really = really
        self._tell = tell
        self._judge = Judge(tools)
        self._redriving = Redriving(tools.database)
        self.became: Counter[str] = Counter()
        self.decided: Counter[tuple[str, str]] = Counter()
        self.segments = 0
        self.cost = 0.0

    async def run(self, outcomes: Sequence[dict[str, Any]], run: str, filters: dict[str, str]) -> None:
        """Take back *outcomes*; however it ends, what became of them is on the audit topic."""
        tools = self._tools
        if not self._really:
            await self._pieces(outcomes, None)
            return
        told = {"run": run, "filters": filters, "chosen": len(outcomes)}
        await tools.sink.publish(audit_record(tools.topics, "outcomes.redrive", **told))
        ends = auditing_the_end(
            tools.topics, tools.sink, "outcomes.redriven", lambda: {"run": run, "became": dict(+self.became)}
        )
        async with ends, open_live_first(tools, lambda what: self._tell(self.became.total(), what)) as live:
            await self._pieces(outcomes, live)

    async def _pieces(self, outcomes: Sequence[dict[str, Any]], live: LiveFirst | None) -> None:
        clock, began, done = self._tools.clock, self._tools.clock.monotonic(), 0
        size = max(1, min(PIECE, int(self._rate)))
        for start in range(0, len(outcomes), size):
            piece = outcomes[start : start + size]
            found = await _messages(self._tools, piece, self.became, self._yes_marketing)
            if live is not None:
                await live.let_in(len(found), {message.lane for message, _ in found})
            messages = await self._proven(found)
            if live is not None:
                due = clock.now()
                opened = await self._redriving.reopen({message.id: _waits(message, due) for message in messages})
                self.became[HANDED_OVER] += len(messages) - len(opened)
                self.became[REDRIVEN] += len(opened)
                done += len(opened)
                await clock.sleep(max(0.0, done / self._rate - (clock.monotonic() - began - live.waited_s)))
            else:
                self.became[REDRIVEN] += len(messages)
            self._tell(start + len(piece), "")

    async def _proven(self, messages: Sequence[tuple[Message, Record]]) -> list[Message]:
        """Return those of which the ledger proves that nothing was handed over, and that have not expired."""
        entries = await self._redriving.entries([message.id for message, _ in messages])
        proven = []
        for message, record in messages:
            entry = entries.get(message.id)
            opened = reopen(entry) if entry is not None else None
            if entry is not None and not entry.is_settled:
                self.became[WAITS_ALREADY] += 1
            elif opened is None:
                self.became[HANDED_OVER] += 1
            elif message.replays >= MOST_REPLAYS:
                self.became[QUARANTINED] += 1
            else:
                again = message.model_copy(update={"step": opened.step, "waiting_for": None})
                judged = await self._judge.judge_message(Letter(record), record, again, opened)
                if judged.decision == EXPIRED:
                    self.became[EXPIRED] += 1
                    continue
                self.decided[judged.decision, judged.detail] += 1
                self.segments += judged.segments
                self.cost += judged.cost
                proven.append(message)
        return proven


async def _messages(
    tools: Tools, piece: Sequence[dict[str, Any]], became: Counter[str], yes_marketing: bool
) -> list[tuple[Message, Record]]:
    places = {told["message_id"]: Place(**told["origin"]) for told in piece if told.get("origin")}
    records = await fetch_records(tools.configuration.settings.kafka, set(places.values()))
    messages = []
    for told in piece:
        record = records.get(places.get(told["message_id"], Place("", 0, 0)))
        message = message_in(record) if record else None
        if record is None:
            became[ORIGIN_GONE] += 1
        elif message is None or message.id != told["message_id"]:
            became[NO_MESSAGE] += 1
        elif told.get("category") == "marketing" and not yes_marketing:
            became[NEEDS_YES_MARKETING] += 1
        else:
            messages.append((message, record))
    return messages


def _waits(message: Message, due: datetime) -> Callable[[int], Deferral]:
    def deferral(step: int) -> Deferral:
        again = message.model_copy(
            update={"step": step, "replays": message.replays + 1, "waiting_for": None, "waiting_since": None}
        )
        return Deferral(
            message_id=message.id,
            step=step,
            lane=message.lane,
            due=due.timestamp(),
            reason=Reason.REDRIVEN,
            template=message.template,
            recipient=message.recipient,
            message=written(again),
        )

    return deferral
