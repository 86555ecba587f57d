"""What every runner is doing now: for the watchdog, and for whoever asks why nothing moves."""

import time
from collections.abc import Callable
from typing import Any

import structlog

from schemas.messages import Lane
from worker.kafka.polling import Unfinished
from worker.parts.shared import Runner, Shared, Stage
from worker.progress import Step
from worker.watchdog import Sight, Watchdog

log = structlog.get_logger(__name__)
MARGIN_S = 30.0
# What an account may make a message wait for; a fence that does not answer is no such thing.
ACCOUNT_WAITS = frozenset({"held", "rate", "in_flight", "concurrency", "projection", "budget", "paused"})
WAITS = {
    Step.DECIDING: "the router's look-ups and decisions",
    Step.LOOKUP: "ledger, contact and key from the database",
    Step.SUBMIT: "the provider's answer",
    Step.SETTLE: "the database, to write down the provider's answer",
    Step.PUBLISH: "Kafka, to take what came of it",
    Step.UNDER_WAY: "the same message, which another record of this process is delivering",
}


class Overseer:
    """
    Looks at the runners of one process.

    Args:
        database_answers: Whether the state store answered last.
    """

    def __init__(self, shared: Shared, stage: Stage, database_answers: Callable[[], bool]) -> None:
        self._shared = shared
        self._stage = stage
        self._database_answers = database_answers

    def watchdog(self, name: str) -> Watchdog:
        """Return the watchdog of a runner."""
        configuration, clock = self._shared.configuration, self._shared.clock
        settings = configuration.settings.watchdog
        # Somebody else's claim may be waited for until its lease is over.
        longest_s = max(account.lease_s for account in configuration.accounts.accounts.values()) + MARGIN_S
        settings = settings.model_copy(update={"stuck_s": max(settings.stuck_s, longest_s)})
        runner = self._stage.runners[name]
        return Watchdog(str(name), runner, lambda: self.look(name), lambda: self._tell(name), settings, clock)

    def oldest_s(self, name: str) -> float:
        """Return for how long the oldest unfinished record of a runner has kept its partition's offset; 0 for none."""
        now = time.monotonic()
        return max((now - one.assigned.moved_at for one in self._stage.runners[name].unfinished()), default=0.0)

    def kafka_answers(self) -> bool:
        """Return whether any client of this process heard of its broker within seconds; one that is full asks nothing."""
        sources = [runner.source for runner in self._stage.runners.values()]
        asking = [source for source in sources if not source.paused] or sources
        return any(source.standing.broker_answers() for source in asking)

    def tell_all(self) -> None:
        """Write every runner's flight record to the log."""
        for name in list(self._stage.runners):
            self._tell(name)

    def look(self, name: str) -> Sight:
        """Return what is to be seen of a runner."""
        runner, now = self._stage.runners[name], time.monotonic()
        source, unfinished = runner.source, runner.unfinished()
        oldest = min(unfinished, key=_moved, default=None)
        queue = self._stage.queue_of.get(name)  # another lane's account is no excuse
        waits = {queue.waits_of(_lane(name))} if queue is not None else set()
        held = any(sink.held for sink in self._stage.sinks.values())
        return Sight(
            fetch_dead=source.standing.fetch_is_dead(),
            assigned=source.ready.is_set(),
            lag=0 if unfinished else sum(map(source.standing.unread, source.assignments())),
            idle_s=now - source.last_record_at,
            unmoved_s=now - max(_moved(oldest), runner.finished_at if _only_waits(oldest) else 0.0) if oldest else 0.0,
            throttled=oldest is not None
            and oldest.step in (Step.FENCE, Step.QUEUED)
            and (bool(waits & ACCOUNT_WAITS) or bool(self._paused_by(name))),
            paused=source.paused,
            silent=not source.standing.broker_answers(),
            away=held or "state" in waits or not self._database_answers(),
            still_s=now - max(runner.finished_at, source.last_record_at, source.commits.committed_at),
            refused_s=now - refused_since if (refused_since := source.commits.refused_since) is not None else 0.0,
        )

    def _paused_by(self, name: str) -> list[str]:
        """Return what an operator paused of a sender: its lane, its account, any route. It stands still as it should."""
        queue = self._stage.queue_of.get(name)
        if queue is None:
            return []
        scopes = {f"lane:{name.removeprefix('sender-')}", f"account:{queue.name}"}
        return sorted(one for one in self._shared.pauses.paused if one in scopes or one.startswith("route:"))

    def why(self) -> list[dict[str, Any]]:
        """Return, for each partition, its oldest unfinished record, where that is, since when, and what it waits for."""
        return [row for name in self._stage.runners for row in self._why(str(name), self._stage.runners[name])]

    def _why(self, name: str, runner: Runner) -> list[dict[str, Any]]:
        source, now = runner.source, time.monotonic()
        if not source.ready.is_set():
            return [{"source": name, "state": "no_assignment", "waits_for": "its group to rebalance"}]
        unfinished = {each.assigned: each for each in runner.unfinished()}
        rows = []
        for assigned in source.assignments():
            row = {"source": name, "topic": assigned.key.topic, "partition": assigned.key.partition}
            its = unfinished.get(assigned)
            row |= {
                "committed": assigned.committed,
                "unread": source.standing.unread(assigned),
                "offset": None,
                "state": "idle",
            }
            if its is not None:
                row |= {
                    "offset": its.offset,
                    "key": None if its.key is None else self._key(name, its.key),
                    "state": its.step.value,
                    "since_s": round(now - its.since, 1),
                    "unmoved_s": round(now - assigned.moved_at, 1),
                    "waits_for": self._waits_for(name, its),
                }
            elif not source.standing.broker_answers():
                row |= {"state": "away", "waits_for": "Kafka, which does not answer"}
            elif row["unread"]:
                row |= {"state": "paused" if source.paused else "fetching", "waits_for": "the broker"}
            rows.append(row)
        return rows

    def _key(self, name: str, key: bytes) -> str:
        """Return a lane's key, which is a hash already, or the keyed hash of another team's."""
        return (
            key.decode(errors="replace") if name.startswith("sender-") else self._shared.pepper.name("key", key.hex())
        )

    def _waits_for(self, name: str, its: Unfinished) -> str:
        if its.step is Step.QUEUED:
            return "an earlier record of its key" if its.behind else "a free slot"
        if its.step is Step.FENCE:
            queue = self._stage.queue_of.get(name)
            waits_for = queue.waits_of(_lane(name)) if queue else None
            if waits_for == "paused":
                return f"an operator, who paused {', '.join(self._paused_by(name)) or 'it'}"
            return f"{waits_for} of account {queue.name}" if queue and waits_for else "the fence"
        away = " (it does not answer)" if not self._database_answers() and its.step is not Step.SUBMIT else ""
        return WAITS[its.step] + away

    def _tell(self, name: str) -> None:
        for row in self._why(str(name), self._stage.runners[name]):
            if row["state"] != "idle":
                log.error("watchdog.why", **row)
        for flight in self._stage.runners[name].source.flights.dump():
            log.error("watchdog.flight_record", runner=str(name), **flight)


def _lane(name: str) -> Lane:
    return Lane(name.removeprefix("sender-"))


def _only_waits(its: Unfinished) -> bool:
    """Return whether it waits for a slot: then any record that is finished is progress."""
    return its.step is Step.QUEUED and not its.behind


def _moved(its: Unfinished) -> float:
    return max(its.since, its.assigned.moved_at)
