"""
Never twice, by exhaustion: every order of crash, lost answer, lapse, refusal and rebalance, over the real transition code.

One message, two processes. In every state: at most one text; "sent" is only said if there was a text; one outcome; and
from every state the end can be reached. Then each rule is taken out, and the search must find what it was for.
"""

from collections import deque
from dataclasses import replace
from typing import NamedTuple

import pytest

from tests import builders
from worker.delivery import fence as fence_module
from worker.delivery import ledger as ledger_module
from worker.delivery.asks import Claimed, Settled
from worker.delivery.fence import decide
from worker.delivery.ledger import Answer, Entry, State, settle

NOW, KEY_LIFE = 1_000_000.0, 3600.0
KEYED = builders.account(idempotency_h=1 + KEY_LIFE / 3600, segments_per_second=1000)
KEYLESS = builders.account(idempotency_h=0, segments_per_second=1000)


class Process(NamedTuple):
    """What a process is doing: its life, its phase, the claim it holds, the answer it has."""

    life: int = 0
    phase: str = "idle"
    attempt: int = 0
    asks: int = 0
    late: bool = False
    answer: Answer | None = None

    def holder(self, index: int) -> str:
        return f"p{index}.{self.life}:{self.asks}"


class World(NamedTuple):
    """Everything there is. A request on its way is (ref, process, life, ask)."""

    entry: Entry | None = None
    processes: tuple[Process, ...] = (Process(), Process())
    owner: int = 0
    net: tuple[tuple[int, int, int, int], ...] = ()
    refs: frozenset[int] = frozenset()
    texts: int = 0
    published: frozenset[str] = frozenset()
    committed: bool = False
    crashes: int = 0
    refusals: int = 0


class Explorer:
    """Walks through every world there can be."""

    def __init__(
        self, *, keyed: bool, crashes: int, asks: int = 2, start_window: bool = True, finals: bool = True
    ) -> None:
        # A process may ask for ever; the walk must end, so each life asks so often at the most.
        self.asks = asks
        self.account = KEYED if keyed else KEYLESS
        self.keyed, self.crashes, self.start_window, self.finals = keyed, crashes, start_window, finals

    def nexts(self, w: World):
        yield w._replace(owner=1 - w.owner)
        yield from self._time(w)
        for request in w.net:
            yield from self._arrive(w._replace(net=tuple(r for r in w.net if r is not request)), request)
        for index in (0, 1):
            yield from self._process(w, index)

    def _time(self, w: World):
        entry = w.entry
        if entry is not None and entry.ref_since is not None and self.keyed and w.refs:
            busy = w.net or any(p.phase == "sending" or (p.phase == "claimed" and not p.late) for p in w.processes)
            if entry.ref_since > 0:  # we trust the key no more, an hour before the provider forgets it
                yield w._replace(entry=replace(entry, ref_since=-1e9))
            elif not busy:
                yield w._replace(refs=frozenset())
        if entry is None or entry.state is not State.CLAIMED:
            return
        sending = any(p.phase == "sending" and p.holder(i) == entry.holder for i, p in enumerate(w.processes))
        if entry.lease_until > NOW + 1:  # first the start window is over, then the lease
            late = tuple(p._replace(late=True) if p.phase == "claimed" else p for p in w.processes)
            yield w._replace(entry=replace(entry, lease_until=NOW + 1), processes=late)
        elif entry.lease_until > NOW and not sending:  # the HTTP deadline ends an attempt before its lease
            yield w._replace(entry=replace(entry, lease_until=NOW - 1))

    def _arrive(self, w: World, request):
        ref, index, life, asks = request
        if self.keyed and ref in w.refs:
            yield self._answer(w, index, life, asks, Answer.ALREADY_SEEN)
            return
        accepted = w._replace(texts=w.texts + 1, refs=w.refs | {ref})
        yield self._answer(accepted, index, life, asks, Answer.ACCEPTED)
        if w.refusals < 1:
            refused = w._replace(refusals=1)
            yield self._answer(refused, index, life, asks, Answer.RECIPIENT_REFUSED)
            yield self._answer(refused, index, life, asks, Answer.OUR_FAULT)

    @staticmethod
    def _answer(w: World, index: int, life: int, asks: int, answer: Answer) -> World:
        p = w.processes[index]
        if (p.life, p.asks, p.phase) != (life, asks, "sending"):
            return w  # nobody waits for it any more
        return put(w, index, p._replace(phase="answered", answer=answer))

    def _process(self, w: World, index: int):
        p = w.processes[index]
        if p.phase != "idle" and w.crashes < self.crashes:
            yield put(w, index, Process(life=p.life + 1))._replace(crashes=w.crashes + 1)
        match p.phase:
            case "idle" if w.owner == index and not w.committed and p.asks < self.asks:
                yield self._ask(w, index, p)
            case "claimed":
                if not (self.start_window and p.late):
                    yield put(w, index, p._replace(phase="sending"))._replace(
                        net=(*w.net, (p.attempt, index, p.life, p.asks))
                    )
                yield put(w, index, p._replace(phase="answered", answer=Answer.NOT_SENT))
            case "sending":
                mine = [r for r in w.net if r[1:] == (index, p.life, p.asks)]
                if mine:
                    gone = w._replace(net=tuple(r for r in w.net if r is not mine[0]))
                    yield put(gone, index, p._replace(phase="answered", answer=Answer.NOT_SENT))
                yield put(w, index, p._replace(phase="answered", answer=Answer.AMBIGUOUS))
            case "answered":
                final = self.finals and p.answer in (Answer.RECIPIENT_REFUSED, Answer.OUR_FAULT)
                after = ledger_module.settle(w.entry, p.holder(index), p.answer, final=final)
                if after is None:
                    yield put(w, index, p._replace(phase="idle", answer=None))
                else:
                    phase = "publishing" if after.is_settled else "idle"
                    yield put(w._replace(entry=after), index, p._replace(phase=phase, answer=None))
            case "publishing":
                done = w._replace(
                    published=w.published | {w.entry.state.value}, committed=w.committed or w.owner == index
                )
                yield put(done, index, p._replace(phase="idle"))

    def _ask(self, w: World, index: int, p: Process) -> World:
        p = p._replace(asks=p.asks + 1, late=False)
        ask = builders.ask(holder=p.holder(index))
        view = builders.view(now=NOW, tokens=1000.0, refilled_at=NOW, entries={"m-1": w.entry} if w.entry else {})
        decision = decide([ask], view, "account", self.account, f"p{index}.{p.life}", 60)
        written = decision.entries[0] if decision.entries else w.entry
        reply = decision.replies[0]
        if isinstance(reply, Claimed):
            return put(w._replace(entry=written), index, p._replace(phase="claimed", attempt=reply.attempt))
        if isinstance(reply, Settled):
            return put(w._replace(entry=written), index, p._replace(phase="publishing"))
        return w  # busy: it asks again, under another number that nobody has seen

    def search(self) -> tuple[str | None, int]:
        """Return what is wrong in some reachable world, or None, and how many there are."""
        seen, todo, back, ends = {World()}, deque([World()]), {}, []
        while todo:
            world = todo.popleft()
            if problem := wrong(world):
                return problem, len(seen)
            if world.committed:
                ends.append(world)
            for after in self.nexts(world):
                back.setdefault(after, []).append(world)
                if after not in seen:
                    seen.add(after)
                    todo.append(after)
        live, todo = set(ends), deque(ends)
        while todo:
            for before in back.get(todo.popleft(), ()):
                if before not in live:
                    live.add(before)
                    todo.append(before)
        stuck = [w for w in seen if w not in live and all(p.asks < 1 for p in w.processes)]
        return ("stuck" if stuck else None), len(seen)


def put(w: World, index: int, process: Process) -> World:
    return w._replace(processes=(*w.processes[:index], process, *w.processes[index + 1 :]))


def wrong(w: World) -> str | None:
    if w.texts > 1:
        return "texted twice"
    if len(w.published) > 1:
        return "two outcomes"
    if "sent" in w.published and w.texts == 0:
        return "sent is a lie"
    return None


@pytest.mark.parametrize(
    ("keyed", "crashes", "asks"),
    [
        pytest.param(True, 0, 2, id="keyed provider, no crash"),
        pytest.param(True, 1, 1, id="keyed provider, a crash"),
        pytest.param(False, 1, 2, id="provider without keys, a crash"),
    ],
)
def test_nobody_is_texted_twice_whatever_happens(keyed: bool, crashes: int, asks: int) -> None:
    problem, worlds = Explorer(keyed=keyed, crashes=crashes, asks=asks).search()

    assert problem is None
    assert worlds > 5_000


def test_without_the_start_window_somebody_is_texted_twice() -> None:
    problem, _ = Explorer(keyed=True, crashes=0, start_window=False).search()

    assert problem is not None


def test_without_never_resending_in_doubt_somebody_is_texted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fence_module, "may_ask_again", lambda *_: True)

    problem, _ = Explorer(keyed=False, crashes=1).search()

    assert problem == "texted twice"


def test_without_compare_and_set_the_ledger_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        ledger_module,
        "settle",
        lambda entry, _, answer, **how: settle(replace(entry, state=State.CLAIMED), entry.holder, answer, **how),
    )

    problem, _ = Explorer(keyed=True, crashes=1).search()

    assert problem is not None


def test_without_doubt_about_a_lapsed_claim_somebody_is_texted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    real = fence_module._decide_one

    def forgetful(ask, entry, *rest):
        released = (
            replace(entry, state=State.RELEASED, reuse=False) if entry and entry.state is State.CLAIMED else entry
        )
        return real(ask, released, *rest)

    monkeypatch.setattr(fence_module, "_decide_one", forgetful)

    problem, _ = Explorer(keyed=True, crashes=1).search()

    assert problem == "texted twice"
