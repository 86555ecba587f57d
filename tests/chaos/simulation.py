"""
Two processes, a lane with its due topic, a ledger, a mover, a provider and an unkind world, one action at a time.

The tracker, the scheduler, assignments, the fence's decision and the ledger's transitions are the worker's own; broker, database,
network and provider are stood in for. Every promise is checked after every action.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from aiokafka.structs import TopicPartition

from schemas.messages import Lane
from tests import builders
from worker.delivery import fence as fences
from worker.delivery import ledger as ledgers
from worker.delivery.deferrals import Deferral
from worker.delivery.asks import Claimed, Deferred, Settled
from worker.delivery.ledger import Answer, Entry, State, client_ref
from worker.kafka.assigned import Assigned
from worker.kafka.scheduler import Job, Scheduler
from worker.policy.verdicts import Defer, Reason, Send
from worker.records import Record

LANE, DUE = "lane", "due"
TICK_S, KEY_LIFE_S, FORGET_S = 4.0, 24.0, 45.0
KEYS = (b"ann", b"bob")


class Broken(AssertionError):
    """A promise was broken."""


@dataclass
class Attempt:
    """A record that a process works on."""

    job: Job
    phase: str = "ask"
    holder: str = ""
    attempt: int = 0
    asked_at: float = 0.0
    sent_at: float = 0.0
    answer: Answer | None = None
    payload: bytes = b""
    step: int = 0
    row: Entry | None = None

    @property
    def message(self) -> str:
        return self.job.record.value.decode().split("/")[0]


@dataclass
class Process:
    """A worker: its life (incarnation), what it has been assigned, what it works on."""

    name: int
    life: int = 0
    asks: int = 0
    frozen: bool = False
    scheduler: Scheduler = field(default_factory=Scheduler)
    assigned: dict[str, Assigned] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    commits: dict[Assigned, int] = field(default_factory=dict)

    @property
    def incarnation(self) -> str:
        return f"p{self.name}.{self.life}"


@dataclass(frozen=True)
class Request:
    """On its way to the provider."""

    ref: str
    message: str
    process: int
    life: int
    attempt: int
    sent_at: float


class Simulation:
    """
    A world.

    Args:
        keyed: The provider honours request ids for a while.
        burns: It remembers refused ones too.
        messages: Each with how often it must wait first.
    """

    def __init__(self, *, keyed: bool, burns: bool = False, messages: tuple[int, ...] = (0, 0, 0, 1)) -> None:
        self.keyed, self.burns = keyed, burns
        hours = 1 + KEY_LIFE_S / 3600 if keyed else 0
        self.account = builders.account(idempotency_h=hours, segments_per_second=1000, refusals_burn_request_id=burns)
        self.now = 1_000.0
        self.logs: dict[str, list[Record]] = {LANE: [], DUE: []}
        self.committed = {LANE: 0, DUE: 0}
        self.entries: dict[str, Entry] = {}
        self.deferred: dict[str, Deferral] = {}
        self.moving: Deferral | None = None
        self.copies: Counter[str] = Counter()
        self.published: dict[str, set[str]] = {}
        self.net: list[Request] = []
        self.refs: dict[str, float] = {}
        self.texts: Counter[str] = Counter()
        self.first_requests: list[str] = []
        self.refused: Counter[str] = Counter()
        self.crashes = 0
        self.defers = {f"m{number}": count for number, count in enumerate(messages)}
        for number, message in enumerate(self.defers):
            self._append(LANE, message, KEYS[number % len(KEYS)], 0)
        self.processes = [Process(0), Process(1)]
        self.assign(0)

    # What may happen next.

    def actions(self) -> list[Callable[[], None]]:
        """Return everything that could happen now."""
        found: list[Callable[[], None]] = [self.tick, self.tick, lambda: self.assign(0), lambda: self.assign(1)]
        for process in self.processes:
            if process.frozen:
                found.append(lambda p=process: setattr(p, "frozen", False))
                continue
            found += self._process_actions(process)
        for request in self.net:
            found += [lambda r=request: self.arrive(r), lambda r=request: self.arrive(r, lost=True)]
            if self.refused[request.message] < 1:
                found.append(lambda r=request: self.refuse(r))
        if self.moving is None and any(one.due <= self.now for one in self.deferred.values()):
            found.append(self.move)
        if self.moving is not None:
            found.append(self.delete_moved)
            if self.copies[self.moving.message_id] < 4:
                found.append(self.mover_dies)
        return found

    def _process_actions(self, process: Process) -> list[Callable[[], None]]:
        found: list[Callable[[], None]] = [lambda: self.poll(process), lambda: self.start(process)] * 2
        found.append(lambda: self.compute_commit(process))
        if process.commits:
            found.append(lambda: self.commit(process))
        if self.crashes < 3:
            found.append(lambda: self.crash(process))
        if any(attempt.phase in ("claimed", "sending", "settle") for attempt in process.attempts):
            found.append(lambda: setattr(process, "frozen", True))
        for attempt in process.attempts:
            found += [lambda a=attempt: self.advance(process, a)] * 3
            if attempt.phase == "claimed":
                found.append(lambda a=attempt: self.not_sent(process, a))
            if attempt.phase == "sending":
                found.append(lambda a=attempt: self._heard(a, Answer.AMBIGUOUS))
        return found

    # The world.

    def tick(self) -> None:
        """Time goes by; a request ends with its deadline, and a connection with it."""
        for process in self.processes:
            for attempt in process.attempts:
                if (
                    attempt.phase == "sending"
                    and not process.frozen
                    and self.now + TICK_S - attempt.sent_at >= self.account.http_deadline_s
                ):
                    self._heard(attempt, Answer.AMBIGUOUS)
        self.now += TICK_S
        for request in [r for r in self.net if self.now - r.sent_at >= self.account.http_deadline_s]:
            self.arrive(request, lost=True)
        self.refs = {ref: since for ref, since in self.refs.items() if self.now - since < FORGET_S}

    def arrive(self, request: Request, *, lost: bool = False) -> None:
        """A request reaches the provider; its answer may be lost."""
        self.net.remove(request)
        if self.keyed and request.ref in self.refs:
            self._hear(request, Answer.ALREADY_SEEN, lost)
            return
        self.refs[request.ref] = self.now
        self.texts[request.message] += 1
        self._hear(request, Answer.ACCEPTED, lost)

    def refuse(self, request: Request) -> None:
        """The provider refuses for a reason that is our own fault, once a message."""
        self.net.remove(request)
        if self.keyed and request.ref in self.refs:
            self._hear(request, Answer.ALREADY_SEEN, lost=False)
            return
        self.refused[request.message] += 1
        if self.burns:
            self.refs[request.ref] = self.now
        self._hear(request, Answer.OUR_FAULT, lost=False)

    def _hear(self, request: Request, answer: Answer, lost: bool) -> None:
        process = self.processes[request.process]
        if lost or process.life != request.life:
            return
        for attempt in process.attempts:
            if attempt.phase == "sending" and attempt.message == request.message and attempt.attempt == request.attempt:
                self._heard(attempt, answer)

    @staticmethod
    def _heard(attempt: Attempt, answer: Answer) -> None:
        attempt.phase, attempt.answer = "settle", answer

    def assign(self, name: int) -> None:
        """A rebalance: everything goes to one process, from what is committed."""
        for process in self.processes:
            for assigned in process.assigned.values():
                assigned.lost = True
            process.assigned = {}
        process = self.processes[name]
        for topic in (LANE, DUE):
            process.assigned[topic] = self._new_assignment(topic)
            process.read[topic] = self.committed[topic]

    def _new_assignment(self, topic: str) -> Assigned:
        return Assigned(TopicPartition(topic, 0), self.committed[topic])

    def crash(self, process: Process) -> None:
        """Kill -9 and a restart: everything in memory is gone."""
        self.crashes += 1
        owned = bool(process.assigned)
        for assigned in process.assigned.values():
            assigned.lost = True
        self.processes[process.name] = Process(process.name, process.life + 1)
        if owned:
            self.assign(process.name)

    # Reading and committing.

    def poll(self, process: Process) -> None:
        for topic in (DUE, LANE):
            assigned = process.assigned.get(topic)
            if assigned is None:
                continue
            for record in self.logs[topic]:
                if record.offset >= process.read[topic]:
                    assigned.observed(record)
                    process.scheduler.add(assigned, record)
                    process.read[topic] = record.offset + 1
                    return

    def start(self, process: Process) -> None:
        if (job := process.scheduler.next()) is not None:
            process.attempts.append(Attempt(job, step=int(job.record.value.decode().split("/")[1])))

    def compute_commit(self, process: Process) -> None:
        """A commit is computed now, and may reach the broker later."""
        for assigned in process.assigned.values():
            if assigned.tracker.committable > assigned.committed:
                process.commits[assigned] = assigned.tracker.committable

    def commit(self, process: Process) -> None:
        """The computed commits reach the broker; those of an assignment that is no more are abandoned before."""
        for assigned, offset in process.commits.items():
            if assigned.lost:
                continue
            topic = assigned.key.topic
            if offset < self.committed[topic]:
                raise Broken(f"{topic}: committed {self.committed[topic]}, then {offset}")
            self.committed[topic], assigned.committed = offset, offset
        process.commits = {}

    # One record, as the sender and the handover deal with it.

    def advance(self, process: Process, attempt: Attempt) -> None:
        getattr(self, f"_{attempt.phase}")(process, attempt)

    def _ask(self, process: Process, attempt: Attempt) -> None:
        process.asks += 1
        attempt.holder, attempt.asked_at = f"{process.incarnation}:{process.asks}", self.now
        message, entry = attempt.message, self.entries.get(attempt.message)
        waits = attempt.step < self.defers[message]
        ask = builders.ask(
            message, holder=attempt.holder, person=None, step=attempt.step, queued_at=self.now,
            verdict=Defer(datetime.fromtimestamp(self.now + TICK_S, UTC), Reason.DELAYED) if waits else Send(),
            deferral=lambda verdict: self._deferral(attempt, verdict),
        )  # fmt: skip
        view = builders.view(
            now=self.now, refilled_at=self.now, tokens=1000.0, entries={message: entry} if entry else {}
        )
        decision = fences.decide([ask], view, "account", self.account, process.incarnation, 60)
        self.entries |= {one.message_id: one for one in decision.entries}
        for one in decision.deferrals:
            self.deferred[one.message_id] = one
        match decision.replies[0]:
            case Claimed(number, entry=row):
                attempt.phase, attempt.attempt, attempt.row = "claimed", number, row
            case Settled(payload):
                attempt.phase, attempt.payload = "publish", payload
            case Deferred():
                attempt.phase = "finish"

    def _deferral(self, attempt: Attempt, verdict: Defer) -> Deferral:
        return Deferral(
            message_id=attempt.message, step=attempt.step + 1, lane=Lane.TRANSACTIONAL, due=verdict.until.timestamp(),
            reason=verdict.reason, template="t", recipient=attempt.job.record.key.decode(), message=b"",
        )  # fmt: skip

    def _claimed(self, process: Process, attempt: Attempt) -> None:
        if self._is_late(attempt):
            self.not_sent(process, attempt)
            return
        attempt.phase, attempt.sent_at = "sending", self.now
        ref = client_ref(attempt.message, attempt.attempt)
        if attempt.message not in self.first_requests:
            self.first_requests.append(attempt.message)
        self.net.append(Request(ref, attempt.message, process.name, process.life, attempt.attempt, self.now))

    def _is_late(self, attempt: Attempt) -> bool:
        return self.now - attempt.asked_at >= self.account.start_window_s

    def not_sent(self, process: Process, attempt: Attempt) -> None:
        """The connection was refused, or it was too late to begin."""
        del process
        self._heard(attempt, Answer.NOT_SENT)

    def _sending(self, process: Process, attempt: Attempt) -> None: ...

    def _settle(self, process: Process, attempt: Attempt) -> None:
        del process
        before = self.entries[attempt.message]
        if before.state is State.CLAIMED and before.holder == attempt.holder:
            assert before == attempt.row, "nobody changes a row while its holder holds it"
        after = ledgers.settle(before, attempt.holder, attempt.answer, burns=self.burns)
        if after is None:
            attempt.phase = "ask"
            return
        if after.is_settled:
            after = replace(after, outcome=f"{after.state}".encode())
            attempt.payload = after.outcome
        self.entries[attempt.message] = after
        attempt.phase = "publish" if after.is_settled else "ask"

    def _publish(self, process: Process, attempt: Attempt) -> None:
        del process
        self.published.setdefault(attempt.message, set()).add(attempt.payload.decode())
        attempt.phase = "finish"

    def _finish(self, process: Process, attempt: Attempt) -> None:
        attempt.job.assigned.finished(attempt.job.record)
        process.scheduler.done(attempt.job)
        process.attempts.remove(attempt)

    # The mover.

    def move(self) -> None:
        self.moving = next(one for one in self.deferred.values() if one.due <= self.now)
        its = self.moving
        self.copies[its.message_id] += 1
        self._append(DUE, its.message_id, its.recipient.encode(), its.step)

    def delete_moved(self) -> None:
        its, self.moving = self.moving, None
        there = self.deferred.get(its.message_id)
        if there is not None and self._is_the_one_moved(there, its):
            del self.deferred[its.message_id]

    @staticmethod
    def _is_the_one_moved(there: Deferral, moved: Deferral) -> bool:
        return there.step == moved.step

    def mover_dies(self) -> None:
        self.moving = None

    def _append(self, topic: str, message: str, key: bytes, step: int) -> None:
        """Write a record; some offsets are left out, as compaction and markers do."""
        log = self.logs[topic]
        offset = log[-1].offset + 1 + len(log) % 3 if log else 0
        log.append(builders.record(topic, f"{message}/{step}".encode(), key=key, offset=offset))

    # Promises.

    def check(self) -> None:
        """Raise Broken for the first promise that does not hold."""
        for message, count in self.texts.items():
            if count > 1:
                raise Broken(f"{message} was texted {count} times")
        for message, kinds in self.published.items():
            if len(kinds) > 1:
                raise Broken(f"{message} has outcomes {kinds}")
            if State.SENT in kinds and not self.texts[message]:
                raise Broken(f"{message} is told as sent, and was not")
        for process in self.processes:
            keys = [attempt.job.key for attempt in process.attempts]
            if len(set(keys)) < len(keys):
                raise Broken("two records of one key are worked on at once")
        self._check_order()
        for topic, log in self.logs.items():
            for record in log:
                if record.offset < self.committed[topic] and not self._is_durable(record):
                    raise Broken(f"{topic}: {record.value!r} is committed, and nothing came of it")

    def _check_order(self) -> None:
        places = {record.value.decode().split("/")[0]: number for number, record in enumerate(self.logs[LANE])}
        for key in range(len(KEYS)):
            its = [places[m] for m in self.first_requests if places[m] % len(KEYS) == key and not self.defers[m]]
            if its != sorted(its):
                raise Broken(f"out of order: {its}")

    def _is_durable(self, record: Record) -> bool:
        message, step = record.value.decode().split("/")
        entry = self.entries.get(message)
        return bool(self.published.get(message)) or (entry is not None and entry.step > int(step))

    def calm_down(self) -> None:
        """Nothing bad happens any more: everything must end, each message with one outcome."""
        for process in self.processes:
            process.frozen = False
        self.assign(0)
        for _ in range(400):
            if self._all_ended():
                return
            for process in self.processes:
                for attempt in list(process.attempts):
                    self.advance(process, attempt)
                self.poll(process)
                self.start(process)
                self.compute_commit(process)
                self.commit(process)
            for request in list(self.net):
                self.arrive(request)
            if self.moving is not None:
                self.delete_moved()
            elif any(one.due <= self.now for one in self.deferred.values()):
                self.move()
            self.tick()
            self.check()
        left = [message for message in self.defers if not self.published.get(message)]
        raise Broken(f"lost: {left}; committed {self.committed}")

    def _all_ended(self) -> bool:
        return all(self.published.get(m) for m in self.defers) and all(
            not log or self.committed[topic] > log[-1].offset for topic, log in self.logs.items()
        )


def simulate(seed: int, steps: int = 120, **world: object) -> None:
    """Let one random world happen, and calm down."""
    draw = random.Random(seed)
    its = Simulation(**world)  # type: ignore[arg-type]
    for _ in range(steps):
        draw.choice(its.actions())()
        its.check()
    its.calm_down()
