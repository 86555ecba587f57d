"""Redrive: messages that a bad deploy suppressed or a provider refused for it go through every check again."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from schemas.messages import Message
from schemas.outcomes import OutcomeKind
from worker.auditing import audit_record
from worker.delivery.deferrals import Deferral
from worker.kafka.scanning import fetch_records, scan
from worker.messages import message_in, written
from worker.policy.verdicts import Reason
from worker.records import Place, Record
from worker.replaying.letters import agrees
from worker.state.redriving import Redriving
from worker.tools import Tools

PIECE = 100
REDRIVEN, HANDED_OVER = "redriven", "not proven unsent"
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
    """Return the data of the outcomes that *wanted* means, each message once, as it stands last."""
    found: dict[str, dict[str, Any]] = {}
    async for record in scan(tools.configuration.settings.kafka, [tools.topics.outcomes], wanted.since):
        told = orjson.loads(record.value or b"{}").get("data", {})
        if wanted.means(record, told):
            found[told["message_id"]] = told
        elif told.get("outcome") != OutcomeKind.DEFERRED:
            found.pop(told.get("message_id", ""), None)  # something else came of it later
    return list(found.values())


async def redrive(
    tools: Tools,
    outcomes: Sequence[dict[str, Any]],
    *,
    run: str,
    rate: float,
    yes_marketing: bool,
    filters: dict[str, str],
    tell: Callable[[int], None],
) -> Counter[str]:
    """Let the messages of *outcomes* go again, at *rate* a second; return what became of them, which adds up to all."""
    became: Counter[str] = Counter()
    await tools.sink.publish(
        audit_record(tools.topics, "outcomes.redrive", run=run, filters=filters, chosen=len(outcomes))
    )
    redriving, began = Redriving(tools.database), tools.clock.now()
    for start in range(0, len(outcomes), PIECE):
        piece = outcomes[start : start + PIECE]
        messages = await _messages(tools, piece, became, yes_marketing=yes_marketing)
        due = [began + timedelta(seconds=(start + place) / rate) for place in range(len(messages))]
        wanted = {message.id: _waits(message, at) for message, at in zip(messages, due, strict=True)}
        opened = await redriving.reopen(wanted)
        became[REDRIVEN] += len(opened)
        became[HANDED_OVER] += len(messages) - len(opened)
        tell(start + len(piece))
    await tools.sink.publish(audit_record(tools.topics, "outcomes.redriven", run=run, became=dict(+became)))
    return +became


async def _messages(
    tools: Tools, piece: Sequence[dict[str, Any]], became: Counter[str], *, yes_marketing: bool
) -> list[Message]:
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
            messages.append(message)
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
