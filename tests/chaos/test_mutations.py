"""
Each rule is taken out in turn, and the same worlds that hold with it must fall: so each rule is tested, and is needed.

What replaces a rule is what somebody might write in its place.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from tests.chaos import simulation
from tests.chaos.simulation import Broken, Simulation, simulate
from worker.delivery import fence as fences
from worker.delivery import ledger as ledgers
from worker.delivery.asks import Claimed
from worker.delivery.ledger import Answer, State
from worker.kafka.scheduler import Scheduler
from worker.kafka.tracker import OffsetTracker

SEEDS = 20_000


@dataclass(frozen=True)
class Mutation:
    """A rule, how it is taken out, and what must be found then."""

    rule: str
    take_out: Callable[[pytest.MonkeyPatch], None]
    finds: str
    world: dict


def keyless(**more) -> dict:
    return {"keyed": False, **more}


def keyed(**more) -> dict:
    return {"keyed": True, **more}


def no_low_watermark(patch: pytest.MonkeyPatch) -> None:
    def done(self, offset: int) -> None:
        if offset in self._observed:
            self._observed.remove(offset)
        self._committable = max(self._committable, offset + 1)

    patch.setattr(OffsetTracker, "done", done)


def no_one_per_key(patch: pytest.MonkeyPatch) -> None:
    def following(self):
        for key, queue in list(self._queues.items()):
            job = self._take(queue)
            if not queue:
                del self._queues[key]
            if job is not None:
                return job
        return None

    patch.setattr(Scheduler, "next", following)


def no_registry(patch: pytest.MonkeyPatch) -> None:
    real = Simulation.assign

    def assign(self, name: int) -> None:
        real(self, name)
        self.processes[name].scheduler = Scheduler()

    patch.setattr(Simulation, "assign", assign)


def no_rebuilt_state(patch: pytest.MonkeyPatch) -> None:
    trackers: dict = {}
    real = Simulation._new_assignment

    def new(self, topic: str):
        assigned = real(self, topic)
        assigned.tracker = trackers.setdefault((id(self), topic), assigned.tracker)
        return assigned

    patch.setattr(Simulation, "_new_assignment", new)


def no_epoch(patch: pytest.MonkeyPatch) -> None:
    real = Simulation.commit

    def commit(self, process) -> None:
        lost = {assigned: assigned.lost for assigned in process.commits}
        for assigned in lost:
            assigned.lost = False
        try:
            real(self, process)
        finally:
            for assigned, was in lost.items():
                assigned.lost = was

    patch.setattr(Simulation, "commit", commit)


def no_ledger(patch: pytest.MonkeyPatch) -> None:
    real = fences.decide
    patch.setattr(
        simulation.fences,
        "decide",
        lambda asks, view, *rest, **named: real(asks, replace(view, entries={}), *rest, **named),
    )


def no_incarnation(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(simulation.Process, "incarnation", property(lambda self: f"p{self.name}"))


def no_compare_and_set(patch: pytest.MonkeyPatch) -> None:
    real = ledgers.settle
    patch.setattr(
        simulation.ledgers,
        "settle",
        lambda entry, _, answer, **more: real(replace(entry, state=State.CLAIMED), entry.holder, answer, **more),
    )


def no_start_window(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Simulation, "_is_late", lambda *_: False)


def resend_in_doubt(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fences, "may_ask_again", lambda *_: True)


def no_doubt_of_lapsed_claims(patch: pytest.MonkeyPatch) -> None:
    real = fences._decide_one

    def forgetful(ask, entry, *rest):
        if entry is not None and entry.state is State.CLAIMED:
            entry = replace(entry, state=State.RELEASED, reuse=False)
        return real(ask, entry, *rest)

    patch.setattr(fences, "_decide_one", forgetful)


def a_new_key_for_what_is_ambiguous(patch: pytest.MonkeyPatch) -> None:
    real = ledgers.claim

    def claim(entry, *rest):
        return real(replace(entry, state=State.RELEASED, reuse=False, ambiguous=False), *rest)

    patch.setattr(fences, "claim", claim)
    real_one = fences._decide_one

    def one(ask, entry, *rest):
        reply, written = real_one(ask, entry, *rest)
        return (replace(reply, attempt=written[0].attempt) if isinstance(reply, Claimed) else reply), written

    patch.setattr(fences, "_decide_one", one)


def seen_is_sent(patch: pytest.MonkeyPatch) -> None:
    real = ledgers.settle

    def settle(entry, holder, answer, **more):
        return real(entry, holder, Answer.ACCEPTED if answer is Answer.ALREADY_SEEN else answer, **more)

    patch.setattr(simulation.ledgers, "settle", settle)


def old_copies_go_on(patch: pytest.MonkeyPatch) -> None:
    real = fences._known
    patch.setattr(fences, "_known", lambda ask, entry, *rest: real(replace(ask, step=99), entry, *rest))


def delete_whatever_step(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Simulation, "_is_the_one_moved", staticmethod(lambda *_: True))


def no_row_with_the_step(patch: pytest.MonkeyPatch) -> None:
    real = fences.decide

    def decide(*arguments, **named):
        return replace(real(*arguments, **named), deferrals=[])

    patch.setattr(simulation.fences, "decide", decide)


def finish_before_publishing(patch: pytest.MonkeyPatch) -> None:
    real = Simulation._publish

    def publish(self, process, attempt) -> None:
        if attempt.job.record.offset in attempt.job.assigned.tracker._done or attempt.job.assigned.lost:
            real(self, process, attempt)
            return
        attempt.job.assigned.finished(attempt.job.record)

    patch.setattr(Simulation, "_publish", publish)


MUTATIONS = [
    Mutation("the lowest unfinished offset is committed", no_low_watermark, "nothing came of it", keyless()),
    Mutation("one active record per key", no_one_per_key, "one key|out of order", keyless()),
    Mutation("what runs is known across a rebalance", no_registry, "one key", keyless()),
    Mutation("state is rebuilt at each assignment", no_rebuilt_state, "committed|nothing came of it|lost", keyless()),
    Mutation("a commit belongs to its assignment", no_epoch, "then", keyless()),
    Mutation("the ledger", no_ledger, "texted", keyless()),
    Mutation("a claim's holder is a life of a process", no_incarnation, "texted", keyless()),
    Mutation("settling compares and sets", no_compare_and_set, "outcomes|sent|texted", keyed()),
    Mutation("a request starts within its window", no_start_window, "texted", keyed()),
    Mutation("what is in doubt is never sent blindly", resend_in_doubt, "texted", keyless()),
    Mutation("a claim past its lease is in doubt", no_doubt_of_lapsed_claims, "texted", keyless()),
    Mutation("what is ambiguous keeps its key", a_new_key_for_what_is_ambiguous, "texted", keyed()),
    Mutation("already seen proves nothing after a refusal", seen_is_sent, "told as sent", keyed(burns=True)),
    Mutation(
        "a copy of an earlier step is done",
        old_copies_go_on,
        "nothing came of it|lost|outcomes|texted|out of order",
        keyless(messages=(2, 1, 2, 1)),
    ),
    Mutation("a moved row is deleted by its step", delete_whatever_step, "lost", keyless(messages=(2, 1, 2, 1))),
    Mutation("the row is written with the step", no_row_with_the_step, "lost", keyless(messages=(1, 1, 1, 1))),
    Mutation("published before it is finished", finish_before_publishing, "nothing came of it", keyless()),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.rule)
def test_without_this_rule_some_world_falls(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation.take_out(monkeypatch)

    with pytest.raises(Broken, match=mutation.finds):
        for seed in range(SEEDS):
            simulate(seed, **mutation.world)
