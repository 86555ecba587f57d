"""
THEN HERE. One message becomes one outcome.

    read the ledger -> check -> compose -> FENCE -> submit -> settle -> publish the outcome -> commit

What can no longer change is checked first, and cheaply. What can change while a message waits (STOP, consent, rate) is
decided in the fence: in one transaction, right before the HTTP call may start. What must wait is written down there too,
and comes back on the lane's due topic.
"""

from collections.abc import Mapping
from typing import Protocol

import orjson
import structlog

from schemas.messages import Category, Message
from schemas.outcomes import OutcomeKind
from worker.clock import Clock
from worker.delivery.deferrals import Deferral
from worker.delivery.handover import FIRST_WAIT_S, LONGEST_WAIT_S, Handover, Plan
from worker.delivery.verdicts import Sms, Submitted
from worker.errors import CheckAgain, DeadLetterReason, PermanentError, TransientError
from worker.floods import Floods
from worker.messages import deferred, read_message, written
from worker.people import Found
from worker.policy.checking import Checked, Checking
from worker.policy.verdicts import CHECK_OF, Defer, Reason, Send, Verdict
from worker.progress import Step, at, traced
from worker.records import Outgoing, Place, Record
from worker.results import Facts, Outcomes
from worker.telemetry import metrics
from worker.telemetry.tracing import is_sampled, spans

log = structlog.get_logger(__name__)
# Of a template and an account: a message that was suppressed, or expired, or waits, says neither good nor bad of them.
SAYS_THAT_ALL_IS_WELL = frozenset({OutcomeKind.ACCEPTED, OutcomeKind.REJECTED, OutcomeKind.UNKNOWN})


class Lookup(Protocol):
    """Knows what became of messages, and whom they are for."""

    async def find(self, message: Message) -> Found:
        """Return the ledger's row and the recipient; waits while the state store is away."""


class Writer(Protocol):
    """Writes records."""

    async def publish(self, outgoing: Outgoing) -> None:
        """Write a record; return when the broker has it."""


class DeadLetters(Protocol):
    """Where records go that cannot be handled."""

    async def put(self, record: Record, error: PermanentError, message: Message | None) -> None:
        """Keep *record* with its reason; return when the broker has it."""


class Sender:
    """
    Sends the messages of one lane.

    Args:
        handovers: Who delivers each category: its account's queue, provider and ledger.
    """

    def __init__(
        self,
        lookup: Lookup,
        checking: Checking,
        handovers: Mapping[Category, Handover],
        writer: Writer,
        outcomes: Outcomes,
        letters: DeadLetters,
        floods: Floods,
        clock: Clock,
    ) -> None:
        self._lookup = lookup
        self._checking = checking
        self._handovers = handovers
        self._writer = writer
        self._outcomes = outcomes
        self._letters = letters
        self._floods = floods
        self._clock = clock

    def adopt(self, checking: Checking) -> None:
        """Check by other rules from now on, what waits for the fence, too; what is with the provider ends as it began."""
        self._checking = checking
        self.check_again()

    def check_again(self) -> None:
        """Let whatever waits for the fence be checked anew."""
        for handover in self._handovers.values():
            handover.check_again()

    async def handle(self, record: Record) -> None:
        """Deal with one record of a lane; return when what came of it is durable. `Stopping` leaves it unfinished."""
        message = None
        try:
            message = read_message(record)
            trace_id = traced(message.traceparent)
            if message.replays:
                metrics.child(metrics.REPLAYED, message.lane).inc()
            about = {"messaging.system": "kafka", "sms.message_id": message.id, "sms.template": message.template}
            with spans().below(message.traceparent, f"deliver {message.lane}", {**about, **record.place._asdict()}):
                payload = await self._deliver(message, record.place, trace_id)
            kind = await self._publish(message, payload)
            if kind in SAYS_THAT_ALL_IS_WELL:
                await self._note(message, None)
        except TransientError:
            raise
        except PermanentError as error:
            at(Step.PUBLISH)
            await self._letters.put(record, error, message)
            await self._note(message, error.code)
        except Exception as error:  # a mistake of ours: keep the record, not the process's other two hundred
            log.exception("sender.failed")
            internal = PermanentError(DeadLetterReason.INTERNAL_ERROR, type(error).__name__)
            await self._letters.put(record, internal, message)
            await self._note(message, internal.code)

    async def _note(self, message: Message | None, code: DeadLetterReason | None) -> None:
        if message is not None:
            await self._floods.note(message, self._handovers[message.category].account, code)

    async def _deliver(self, message: Message, origin: Place, trace_id: str | None) -> bytes:
        while True:
            try:
                return await self._once(message, origin, trace_id)
            except CheckAgain:
                continue

    async def _once(self, message: Message, origin: Place, trace_id: str | None) -> bytes:
        at(Step.LOOKUP)
        with spans().span("look up"):
            found = await self._lookup.find(message)
        if found.entry and found.entry.is_settled and found.entry.fingerprint == message.event.fingerprint:
            return found.entry.outcome or b""
        checking = self._checking
        message = checking.timed(message, found.known)
        with spans().span("check"):
            checked = checking.check(message, found.known, self._clock.now())
        plan = self._plan(message, checking, checked, origin, trace_id)
        return await self._handovers[message.category].deliver(plan)

    async def _publish(self, message: Message, payload: bytes) -> str | None:
        """Publish an outcome and count it; return its kind, or None if there is nothing to tell."""
        if not payload:
            return None
        at(Step.PUBLISH)
        await self._writer.publish(self._outcomes.record(message.id, payload))
        told = orjson.loads(payload)["data"]
        metrics.child(metrics.OUTCOMES, message.category, message.lane, told["outcome"], told.get("reason", "")).inc()
        return str(told["outcome"])

    def _plan(
        self, message: Message, checking: Checking, checked: Checked, origin: Place, trace_id: str | None
    ) -> Plan:
        text, number = checked.text, checked.number
        marketing = message.category is Category.MARKETING
        its = message.traceparent
        sms = Sms(number.e164, text.body, text.sender, marketing, its) if text and number else None

        def outcome(kind: OutcomeKind, reason: Reason | None, submitted: Submitted | None, verdict: Verdict) -> bytes:
            facts = self._facts(message, checking, checked, submitted, verdict, origin, kind, reason)
            return self._outcomes.payload(message, kind, reason, facts, self._clock.now())

        return Plan(
            message_id=message.id,
            fingerprint=message.event.fingerprint,
            lane=message.lane,
            person=checked.person,
            purpose=checking.template(message).purpose if marketing and sms else None,
            encoding=text.segmentation.encoding if text else "",
            segments=text.segmentation.segments if text else 0,
            category=message.category,
            event_time=message.event.time,
            due_at=max(message.event.time, message.not_before or message.event.time),
            expires_at=message.expires_at,
            verdict=checked.verdict,
            sms=sms,
            refusals_burn=self._handovers[message.category].refusals_burn,
            outcome=outcome,
            step=message.step,
            unless=message.unless,
            replayed=message.replays > 0,
            resend=checking.resends(message),
            deferral=lambda verdict: self._deferral(message, verdict),
            try_again_s=self._try_again_s(message),
            limits=checking.limits(message, checked),
            trace_id=trace_id if is_sampled(message.traceparent or "") else None,  # an exemplar must lead somewhere
        )

    def _try_again_s(self, message: Message) -> float:
        """Return how long it waits if it fails again and again: as long again as it has waited for that."""
        if message.waiting_for != Reason.TRY_AGAIN or message.waiting_since is None:
            return FIRST_WAIT_S
        waited_s = (self._clock.now() - message.waiting_since).total_seconds()
        return min(LONGEST_WAIT_S, max(FIRST_WAIT_S, waited_s))

    def _deferral(self, message: Message, verdict: Defer) -> Deferral:
        return Deferral(
            message_id=message.id,
            step=message.step + 1,
            lane=message.lane,
            due=verdict.until.timestamp(),
            reason=verdict.reason,
            template=message.template,
            recipient=message.recipient,
            message=written(deferred(message, verdict.reason, self._clock.now())),
        )

    def _facts(
        self,
        message: Message,
        checking: Checking,
        checked: Checked,
        submitted: Submitted | None,
        verdict: Verdict,
        origin: Place,
        kind: OutcomeKind,
        reason: Reason | None,
    ) -> Facts:
        text, handover = checked.text, self._handovers[message.category]
        return Facts(
            template_version=checking.version(message),
            policy_version=checking.policy_version,
            check=CHECK_OF[reason] if reason is not None else None,
            consent=verdict.consent._asdict() if isinstance(verdict, Send) and verdict.consent else None,
            basis=verdict.basis if isinstance(verdict, Send) else None,
            country=checked.number.country if checked.number else None,
            encoding=text.segmentation.encoding if text else None,
            segments=text.segmentation.segments if text else None,
            provider=handover.provider if submitted else None,
            account=handover.account if submitted else None,
            provider_ref=submitted.provider_ref if submitted else None,
            cost=submitted.cost if submitted else None,
            currency=submitted.currency if submitted else None,
            submitted_at=self._clock.now() if submitted else None,
            deferred_until=verdict.until if isinstance(verdict, Defer) and kind is OutcomeKind.DEFERRED else None,
            step=message.step or None,
            origin=origin._asdict(),
        )
