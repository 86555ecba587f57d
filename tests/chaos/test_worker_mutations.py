"""
Rules that `simulation.py` keeps in its own words, taken out of the worker's: the test that watches each must go red.

Beside `test_mutations.py`, where the worker's code is what the simulation runs.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable

import pytest

from tests.integration import test_waiting as waiting
from tests.unit import test_attempts as attempts
from tests.unit import test_keyed as keyed
from tests.unit import test_source as sources
from tests.fakes import RememberedPositions
from worker.delivery.accounts import Account
from worker.kafka import source as source_module
from worker.kafka.assigned import Assigned
from worker.kafka.keyed import KeyedRunner
from worker.kafka.scheduler import Scheduler
from worker.kafka.source import Source
from worker.state.database import Database
from worker.state.tables import deferred
from worker.state.waiting import Waiting

Patch = pytest.MonkeyPatch


async def over_a_source(test: Callable[..., Awaitable[None]]) -> None:
    async def nothing() -> None: ...

    client = sources.Client()
    source = Source("test", client, {"in": "earliest"}, RememberedPositions(), nothing)
    source.standing.position = lambda _: 0
    source.standing.assignment = lambda: None
    await test(source, client)


async def at_a_desk(test: Callable[..., Awaitable[None]]) -> None:
    async with asyncio.TaskGroup() as tasks:
        desk = keyed.Desk(sources.Client(), tasks)
        await desk.runner.source.assigned([sources.KEY])
        try:
            await test(desk)
        finally:
            desk.let_go.set()


def no_rebuilt_state(patch: Patch) -> None:
    kept: dict = {}
    patch.setattr(source_module, "Assigned", lambda key, *rest: kept.setdefault(key, Assigned(key, *rest)))


def no_epoch(patch: Patch) -> None:
    real = Source.revoked

    async def revoked(self: Source) -> None:
        assigned = dict(self._assigned)
        await real(self)
        self._assigned = assigned
        self.commits.begin()

    patch.setattr(Source, "revoked", revoked)


def no_registry(patch: Patch) -> None:
    real = KeyedRunner.before_revoke

    async def before_revoke(self: KeyedRunner) -> None:
        await real(self)
        self._scheduler = Scheduler()

    patch.setattr(KeyedRunner, "before_revoke", before_revoke)


def finished_first(patch: Patch) -> None:
    real = KeyedRunner._work

    async def work(self: KeyedRunner, job, *rest) -> None:
        job.assigned.finished(job.record)
        await real(self, job, *rest)

    patch.setattr(KeyedRunner, "_work", work)


def no_start_window(patch: Patch) -> None:
    patch.setattr(Account, "start_window_s", math.inf)


RULES = {
    "state is rebuilt at each assignment": (
        no_rebuilt_state, over_a_source, sources.test_a_late_finish_of_an_earlier_assignment_commits_nothing_of_the_next,
    ),
    "a commit belongs to its assignment": (
        no_epoch, over_a_source, sources.test_what_is_finished_is_committed_inside_the_revoke_and_nothing_until_assigned_again,
    ),
    "what runs is known across a rebalance": (
        no_registry, at_a_desk, keyed.test_a_record_that_comes_again_after_a_rebalance_waits_for_the_attempt_that_still_runs,
    ),
    "published before it is finished": (
        finished_first, at_a_desk, keyed.test_a_record_is_finished_when_what_came_of_it_is_durable_and_not_before,
    ),
    "a request starts within its window": (
        no_start_window, lambda test: test(), attempts.test_a_process_that_froze_between_the_fence_and_the_call_sends_nothing,
    ),
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
async def test_without_the_rule_its_test_goes_red(rule: str, monkeypatch: Patch) -> None:
    mutate, run, test = RULES[rule]
    await run(test)  # with it, it is green
    mutate(monkeypatch)

    with pytest.raises((AssertionError, BaseExceptionGroup)):
        await run(test)


async def test_without_the_step_a_slow_mover_deletes_what_was_deferred_again(
    database: Database, fences, monkeypatch: Patch
) -> None:
    async def moved(self: Waiting, published) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(
                deferred.delete().where(deferred.c.message_id.in_([p.message_id for p in published]))
            )

    monkeypatch.setattr(Waiting, "moved", moved)

    with pytest.raises(AssertionError):
        await waiting.test_a_mover_that_was_slow_does_not_delete_what_was_deferred_again(fences, database)


fences = waiting.fences
