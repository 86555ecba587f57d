"""Gauges that are looked up rather than counted, and counters that must be there before they count."""

import asyncio
from collections.abc import Callable, Iterator
from itertools import product

from worker.errors import DeadLetterReason
from worker.kafka.positions import INCIDENTS
from worker.kafka.retaining import Retaining
from worker.overseeing import Overseer
from worker.parts.shared import Stage
from worker.policy.guard import Rule
from worker.state.database import Database
from worker.telemetry import metrics
from worker.telemetry.resources import Use, begin_at_zero
from worker.watchdog import Symptom


class Observer:
    """
    Looks at one process.

    Args:
        database_answers: Whether the state store answered last.
    """

    def __init__(
        self,
        stage: Stage,
        database: Database,
        overseer: Overseer,
        retaining: Retaining,
        database_answers: Callable[[], bool],
    ) -> None:
        self._stage = stage
        self._database = database
        self._overseer = overseer
        self._retaining = retaining
        self._database_answers = database_answers
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """Let counters that alerts watch be there before they count: what is born at 1 has not increased for anybody."""
        for name, runner in self._stage.runners.items():
            for topic in runner.source.standing.topics:
                metrics.child(metrics.RECORDS_LOST, name, topic)
                metrics.child(metrics.OUT_OF_RANGE, name, topic)
                for origin in INCIDENTS:
                    metrics.child(metrics.START_INCIDENTS, name, topic, origin)
            for symptom in Symptom:
                metrics.child(metrics.WATCHDOG, name, symptom)
        lanes = [name.removeprefix("sender-") for name in self._stage.queue_of]
        for stage, reason in product([*lanes, "router"], DeadLetterReason):
            metrics.child(metrics.DEAD_LETTERS, stage, reason)
        for queue in self._stage.queues:
            metrics.child(metrics.SEGMENT_MISMATCH, queue.name)
        begin_at_zero()
        for rule, mode in product(Rule, ("observe", "enforce")):
            metrics.child(metrics.GUARD, rule, mode)

    def observe(self) -> None:
        """Set the gauges."""
        for prepare in self._stage.before_scrape:
            prepare()
        metrics.TASKS.set(len(asyncio.all_tasks()))
        metrics.DATABASE_UP.set(self._database_answers())
        metrics.KAFKA_UP.set(self._overseer.kafka_answers())
        for name, runner in self._stage.runners.items():
            self._retaining.observe(name, runner.source.standing)
            metrics.child(metrics.REBALANCES, name).set(runner.source.rebalances)
            metrics.child(metrics.OLDEST_S, name).set(self._overseer.oldest_s(name))
        for name, sink in self._stage.sinks.items():
            metrics.child(metrics.HELD_WRITES, name).set(sink.held)
        for use in self._uses():
            use.tell()

    def _uses(self) -> Iterator[Use]:
        for name, runner in self._stage.runners.items():
            yield from runner.uses(name)
        for queue in self._stage.queues:
            yield queue.use()
        for name, sink in self._stage.sinks.items():
            yield sink.use(name)
        yield self._database.use("others")
        if self._database.urgent is not self._database:
            yield self._database.urgent.use("urgent")
