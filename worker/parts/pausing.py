"""What operators pause: heard from the control topic and from a file, obeyed by the queues, and audited."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack

import structlog

from schemas.messages import Lane
from worker.auditing import audit_record
from worker.delivery.asks import Ask
from worker.kafka.clients import make_producer
from worker.kafka.control import ControlTopic
from worker.kafka.sink import Sink, open_sink
from worker.parts.shared import Shared, Stage
from worker.pausing import MOST_SCOPES, Pause, PauseFile, Pauses
from worker.policy.verdicts import Reason, Send
from worker.records import Outgoing
from worker.state.batching import hold_until_back
from worker.state.waiting import MOST_LET_GO, Waiting
from worker.topics import Topics

log = structlog.get_logger(__name__)
LET_GO_EVERY_S = 2.0


async def hear_pauses(shared: Shared, stage: Stage, stack: AsyncExitStack) -> None:
    """Know what is paused before anything begins, and hear of what changes; needs the queues of *stage*."""
    pauses, settings = shared.pauses, shared.configuration.settings
    control = ControlTopic(settings.kafka, shared.topics.control, pauses, shared.clock)
    file = PauseFile(settings.pauses_in, pauses, shared.clock)
    # A sink of its own: a right on the audit topic that is missing must hold no lane.
    audit = FileAudit(shared.topics, await stack.enter_async_context(open_sink(make_producer(settings.kafka))))
    file.on_change.append(audit.note)
    await control.catch_up()
    file.look()

    def changed(scope: str) -> None:
        """What resumes begins slowly, by the rules and texts of now; what pauses is left where it is."""
        if scope in pauses.paused:
            return
        kind, _, name = scope.partition(":")
        for queue in stage.queues:
            lanes = {lane for lane in Lane if shared.configuration.accounts.of_lane(lane)[0] == queue.name}
            if (kind == "account" and name == queue.name) or (kind == "lane" and name in lanes):
                queue.resume()
            queue.check_again()

    pauses.on_change.append(changed)
    stage.services |= {
        "control": control.run,
        "pause-file": file.run,
        "pause-audit": audit.run,
        "resuming": lambda: _let_go(shared),
    }


async def _let_go(shared: Shared) -> None:
    """
    Let messages of routes that resumed go, some thousand at a time; the check puts back those of routes that did not.

    Again and again: one may have been written down by a process that had not heard yet.
    """
    waiting = Waiting(shared.database)
    while True:
        await shared.clock.sleep(LET_GO_EVERY_S)
        if not any(scope.startswith("route:") for scope in shared.pauses.paused):
            while await hold_until_back("pauses")(waiting.let_go, Reason.PAUSED.value) == MOST_LET_GO:
                pass


def is_paused(pauses: Pauses, account: str) -> Callable[[Ask], bool]:
    """Return what says whether an ask is paused: its account, its lane, or its route, as cancellations name it."""

    def paused(ask: Ask) -> bool:
        if not pauses.paused or not isinstance(ask.verdict, Send):  # what is refused or deferred texts nobody
            return False
        return not pauses.paused.keys().isdisjoint({f"account:{account}", f"lane:{ask.lane}", *ask.limits.cancelled_by})

    return paused


class FileAudit:
    """
    Writes down what a file paused or resumed, once Kafka takes it.

    Each process with such a file says so of itself, and again when it starts with one: who wrote the file nobody knows.
    """

    def __init__(self, topics: Topics, sink: Sink) -> None:
        self._topics = topics
        self._sink = sink
        self._untold: asyncio.Queue[Outgoing] = asyncio.Queue(MOST_SCOPES)

    def note(self, scope: str, pause: Pause | None) -> None:
        """Note that *scope* pauses, or for None that it resumes."""
        action, reason = ("pause", pause.reason) if pause else ("resume", "")
        told = {"scope": scope, "reason": reason, "by": "file", "host": socket.gethostname()}
        try:
            self._untold.put_nowait(audit_record(self._topics, action, **told))
        except asyncio.QueueFull:  # Kafka is away, and somebody plays with the file: the log has it all
            log.warning("audit.dropped", action=action, scope=scope)

    async def run(self) -> None:
        """Write for ever; belongs into a TaskGroup."""
        while True:
            await self._sink.publish(await self._untold.get())
