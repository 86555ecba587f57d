"""
Handing a message over: fence, submit, settle, and again until it has ended.

What was not sent waits for its account; what is in doubt asks again under the same key, while the provider knows it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

import structlog
from tenacity import AsyncRetrying, retry_if_result, wait_random_exponential

from schemas.messages import Lane
from schemas.outcomes import OutcomeKind
from worker.clock import Clock
from worker.delivery.asks import Ask, Busy, Claimed, Deferred, IdReused, Settled
from worker.delivery.attempts import Attempts
from worker.delivery.deferrals import Deferral
from worker.delivery.ledger import Answer, Entry
from worker.delivery.limits import NO_LIMITS, Limits
from worker.delivery.queue import Answer as Answered
from worker.delivery.queue import FenceQueue
from worker.delivery.verdicts import ProviderReason, Sms, Submitted
from worker.errors import DeadLetterReason, PermanentError
from worker.policy.verdicts import Defer, Reason, Verdict
from worker.progress import Step, at
from worker.telemetry import metrics
from worker.telemetry.tracing import spans

log = structlog.get_logger(__name__)
UNDER_WAY_S, FIRST_BUSY_S = 0.05, 0.1
MOST_FAILS = 8  # half a minute's, as waits double
CREDIT_S = 3600.0
FIRST_WAIT_S, LONGEST_WAIT_S = 60.0, 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    A message that has been checked and composed.

    Attributes:
        verdict: A refusal is settled without being sent.
        sms: None if refused.
        refusals_burn: The account's provider remembers refused keys too.
        outcome: Makes the payload of an outcome, with what the provider said if it was asked, and the verdict.
        due_at: When it should have gone: the event's time, or what its route made it wait for.
        try_again_s: How long it waits if it fails again and again.
        trace_id: Of the event, for exemplars.
        unless: See `worker.delivery.fence.Ask`, as for *step*, *replayed*, *resend*, *deferral* and *limits*.
    """

    message_id: str
    fingerprint: str
    lane: Lane
    person: str | None
    purpose: str | None
    encoding: str
    segments: int
    category: str
    event_time: datetime
    due_at: datetime
    expires_at: datetime
    verdict: Verdict
    sms: Sms | None
    refusals_burn: bool
    outcome: Callable[[OutcomeKind, Reason | None, Submitted | None, Verdict], bytes]
    step: int = 0
    unless: Sequence[str] = ()
    replayed: bool = False
    resend: bool = False
    deferral: Callable[[Defer], Deferral] | None = None
    try_again_s: float = FIRST_WAIT_S
    limits: Limits = NO_LIMITS
    trace_id: str | None = None


@dataclass(slots=True)
class Tries:
    """How often a message failed while its account did not have to rest for it."""

    failed: int = 0


class Settler(Protocol):
    """Writes down what a submit came to."""

    async def settle(self, plan: Plan, claimed: Claimed, submitted: Submitted) -> Entry | None:
        """Return the row afterwards, or None if the claim was another's by then."""


class Handover:
    """
    Delivers the messages of one account.

    Args:
        holders: Names for claims, each once in the life of this process, whatever the account.
    """

    def __init__(
        self, holders: Iterator[str], queue: FenceQueue, attempts: Attempts, settler: Settler, clock: Clock
    ) -> None:
        self._holders = holders
        self._queue = queue
        self._attempts = attempts
        self._settler = settler
        self._clock = clock
        self._under_way: set[str] = set()
        self._credit_at: float | None = None
        self._again = AsyncRetrying(
            retry=retry_if_result(lambda payload: payload is None),
            wait=wait_random_exponential(multiplier=0.2, max=10),
            sleep=clock.sleep,
        )

    @property
    def account(self) -> str:
        """The account's name."""
        return self._attempts.name

    @property
    def refusals_burn(self) -> bool:
        """Whether the provider remembers refused keys too."""
        return self._attempts.account.refusals_burn_request_id

    @property
    def provider(self) -> str:
        """The provider's name."""
        return self._attempts.provider.name

    def before_scrape(self) -> None:
        """Tell the breaker; and no more an account's credit that was heard an hour ago: another process may know better."""
        metrics.child(metrics.BREAKER_OPEN, self._attempts.name).set(self._attempts.breaker_open)
        if self._credit_at is not None and self._clock.monotonic() - self._credit_at > CREDIT_S:
            self._credit_at = None
            metrics.CREDIT.remove(self._attempts.name)

    def check_again(self) -> None:
        """Let whoever waits for the fence be checked anew."""
        self._queue.check_again()

    async def deliver(self, plan: Plan) -> bytes:
        """
        Return the payload of the outcome, which is stored by then; empty if an earlier copy's has nothing to tell.

        Raises:
            PermanentError: The id was used twice, or the provider refused what is our fault.
            Stopping: The process is ending, and the message is not with the provider.
            CheckAgain: The rules have changed, and it is not with the provider either.
        """
        at(Step.UNDER_WAY)
        while plan.message_id in self._under_way:  # the same message on another lane, or delivered again
            await self._clock.sleep(UNDER_WAY_S)
        self._under_way.add(plan.message_id)
        try:
            tries = Tries()
            payload = await self._round(plan, tries)
            return payload if payload is not None else await self._again.copy()(self._round, plan, tries)
        finally:
            self._under_way.discard(plan.message_id)

    async def _round(self, plan: Plan, tries: Tries) -> bytes | None:
        if tries.failed >= MOST_FAILS:
            plan = self._later(plan)
        reply = await self._ask(plan)
        busy_s = FIRST_BUSY_S
        while isinstance(reply, Busy):  # another process is at it, most often only for a moment
            at(Step.UNDER_WAY)
            await self._clock.sleep(min(reply.retry_in_s, busy_s))
            busy_s = min(1.0, 2 * busy_s)
            reply = await self._ask(plan)
        match reply:
            case Settled(payload):
                return payload
            case Deferred(payload):
                return payload or b""
            case IdReused():
                message = "this event id came before with other content; an id names one event for ever"
                raise PermanentError(DeadLetterReason.ID_REUSED, message, field="id")
        if plan.sms is None:
            raise RuntimeError("a refused message is never claimed")
        return await self._attempt(plan, reply, plan.sms, tries)

    def _later(self, plan: Plan) -> Plan:
        """
        Return *plan* to wait in the database: what fails again and again would keep its partition's offset, and a slot.

        An account that rests is another matter: then everything holds, and nothing gives up its place.
        """
        if plan.deferral is None:
            return plan
        until = min(self._clock.now() + timedelta(seconds=plan.try_again_s), plan.expires_at)
        return replace(plan, verdict=Defer(until, Reason.TRY_AGAIN))

    async def _ask(self, plan: Plan) -> Answered:
        began = self._clock.monotonic()
        ask = Ask(
            message_id=plan.message_id,
            fingerprint=plan.fingerprint,
            holder=next(self._holders),
            lane=plan.lane,
            person=plan.person,
            purpose=plan.purpose,
            segments=plan.segments,
            verdict=plan.verdict,
            event_at=plan.event_time.timestamp(),
            expires_at=plan.expires_at.timestamp(),
            queued_at=began,
            outcome=lambda kind, reason, verdict: plan.outcome(kind, reason, None, verdict),
            step=plan.step,
            unless=plan.unless,
            replayed=plan.replayed,
            resend=plan.resend,
            deferral=plan.deferral,
            limits=plan.limits,
        )
        at(Step.FENCE)
        with spans().span("fence"):
            reply = await self._queue.ask(ask)
        metrics.child(metrics.FENCE_WAIT_S, plan.lane).observe(self._clock.monotonic() - began)
        return reply

    async def _attempt(self, plan: Plan, claimed: Claimed, sms: Sms, tries: Tries) -> bytes | None:
        began = self._clock.monotonic()
        at(Step.SUBMIT)
        submitted = await self._submit(plan, claimed, sms)
        self._observe(plan, submitted, self._clock.monotonic() - began)
        at(Step.SETTLE)
        entry = await self._settler.settle(plan, claimed, submitted)
        if entry is not None and entry.is_settled:
            return entry.outcome
        if submitted.dead_letter is not None and entry is not None and not entry.ambiguous:
            detail = f"{self._attempts.provider.name} answered {submitted.code}"
            raise PermanentError(submitted.dead_letter, detail, field="provider")
        tries.failed += submitted.hold_s is None
        at(Step.FENCE)  # nothing is with the provider any more: whoever wants it skipped may
        return None

    async def _submit(self, plan: Plan, claimed: Claimed, sms: Sms) -> Submitted:
        concurrency = self._queue.concurrency
        mark, submitted = concurrency.begun, None
        try:
            with spans().span("submit"):
                submitted = await self._attempts.submit(plan.message_id, claimed, sms)
        finally:
            concurrency.end(mark, submitted)
            self._queue.wake()
        return submitted

    def _observe(self, plan: Plan, submitted: Submitted, seconds: float) -> None:
        name = self._attempts.name
        metrics.child(metrics.SUBMITS, name, submitted.answer, submitted.reason).inc()
        metrics.child(metrics.SUBMIT_S, name).observe(seconds)
        if submitted.credit is not None:
            metrics.CREDIT.labels(name).set(submitted.credit)
            self._credit_at = self._clock.monotonic()
        if submitted.answer is Answer.ACCEPTED:
            late_s, traced = (self._clock.now() - plan.due_at).total_seconds(), {"trace_id": plan.trace_id}
            metrics.child(metrics.EVENT_TO_SUBMIT_S, plan.lane).observe(late_s, traced if plan.trace_id else None)
            metrics.child(metrics.SEGMENTS, name, plan.category, plan.encoding).inc(plan.segments)
            metrics.child(metrics.PROVIDER_SEGMENTS, name, plan.category).inc(submitted.segments or plan.segments)
            metrics.child(metrics.COST, name, plan.category).inc(submitted.cost or 0.0)
            if submitted.segments not in (None, plan.segments):
                metrics.child(metrics.SEGMENT_MISMATCH, name).inc()
        elif submitted.reason is ProviderReason.ALREADY_SEEN:
            log.warning("sms.already_seen", account=name, message_id=plan.message_id)
        else:
            log.info(
                "sms.not_accepted",
                account=name,
                message_id=plan.message_id,
                answer=submitted.answer,
                code=submitted.code,
                reason=submitted.reason,
            )
