"""What a storm came to: one page, every figure by an oracle that does not ask the worker."""

import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

TERMINAL = {"accepted", "suppressed", "superseded", "expired", "rejected", "unknown"}


@dataclass
class Accounts:
    """
    The report.

    Attributes:
        lost: Messages without a terminal outcome, and events without a message.
        twice: Messages texted more than once; with a provider without keys, asked for more than once.
        contradictions: Messages with two different terminal outcomes, or told as accepted without a text.
        out_of_order: Pairs of messages of one person and lane whose first requests came the other way round.
        went_back: Committed offsets that fell.
    """

    events: int
    keyed: bool
    faults: Counter[str]
    outcomes: Counter[str]
    lost: int
    twice: list[str]
    contradictions: list[str]
    out_of_order: list[tuple[str, int, int]]
    went_back: list[str]
    exits: Counter[int]
    requests: int
    texts: int
    recovery_s: dict[str, list[float]] = field(default_factory=dict)
    last_words: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.twice or self.contradictions or self.out_of_order or self.went_back)

    def page(self) -> str:
        """Return the report as text."""
        every = sorted(seconds for its in self.recovery_s.values() for seconds in its)
        lines = [
            f"{self.events} events, provider {'with' if self.keyed else 'without'} keys: {self.requests} requests, {self.texts} texts",
            "faults:       "
            + ", ".join(f"{count} {kind}" for kind, count in self.faults.most_common())
            + f"; {self.faults.total()} in all",
            "outcomes:     " + ", ".join(f"{count} {kind}" for kind, count in self.outcomes.most_common()),
            f"lost          {self.lost}",
            f"twice         {len(self.twice)}",
            f"contradicted  {len(self.contradictions)}",
            f"unknown       {self.outcomes['unknown']}",
            f"out of order  {len(self.out_of_order)}",
            f"commits back  {len(self.went_back)}",
            f"worker exits  {dict(self.exits)}",
        ]
        if every:
            lines.append(
                f"recovery      p50 {statistics.median(every):.1f} s, p99 {every[int(len(every) * 0.99)]:.1f} s, longest {every[-1]:.1f} s"
            )
            lines += [
                f"  {kind:<14} p50 {statistics.median(its):.1f} s, longest {max(its):.1f} s"
                for kind, its in sorted(self.recovery_s.items())
            ]
        for name, found in (
            ("twice", self.twice),
            ("contradicted", self.contradictions),
            ("out of order", self.out_of_order),
            ("back", self.went_back),
        ):
            lines += [f"  {name}: {one}" for one in found[:10]]
        lines += self.last_words
        return "\n".join(lines)


def account_for(plan: Any, weather: Any, remembered: dict[str, list]) -> Accounts:
    """Hold the provider's memory, the outcomes and the events against one another."""
    texts, requests = (
        Counter(_message(ref) for _, _, ref, _ in remembered["texts"]),
        Counter(_message(ref) for _, _, ref, _ in remembered["requests"]),
    )
    ends = {message: {kind for kind in its if kind in TERMINAL} for message, its in weather.outcomes.items()}
    counted = Counter(kind for its in ends.values() for kind in its)
    twice = [message for message, count in (texts if plan.keyed else requests).items() if count > 1]
    contradictions = [
        message for message, its in ends.items() if len(its) > 1 or (its == {"accepted"} and not texts[message])
    ]
    return Accounts(
        events=plan.events,
        keyed=plan.keyed,
        faults=Counter(fault.kind for fault in weather.faults),
        outcomes=counted,
        lost=max(0, plan.events - sum(1 for its in ends.values() if its)),
        twice=twice,
        contradictions=contradictions,
        out_of_order=_disorder(remembered["requests"], {m for m, its in ends.items() if its == {"unknown"}}),
        went_back=weather.went_back,
        exits=weather.exits,
        requests=len(remembered["requests"]),
        texts=len(remembered["texts"]),
        recovery_s=_recovery(weather.faults, remembered["requests"]),
        last_words=weather.last_words,
    )


def _message(ref: str) -> str:
    return ref.rsplit("-", 1)[0]


def _disorder(requests: list, unknown: set[str]) -> list[tuple[str, int, int]]:
    """
    First requests of one person's orders must rise in number, and so must their codes; offers have none.

    What ended as *unknown* is left out: a process that froze while it wrote its request lets it go when it wakes, and by
    then the message was given up, and the next one sent.
    """
    first: dict[str, tuple[float, str, int]] = {}
    for at, to, ref, number in requests:
        if _message(ref) not in unknown:
            first.setdefault(_message(ref), (at, to, number))
    by_person: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for at, to, number in first.values():
        if number >= 0:
            by_person[to].append((at, number))
    return [
        (to, before[1], after[1])
        for to, its in by_person.items()
        for before, after in zip(sorted(its), sorted(its)[1:])
        if after[1] < before[1]
    ]


def _recovery(faults: list, requests: list) -> dict[str, list[float]]:
    """From the end of each fault to when every fifth of the people had a request again: nobody is left behind for longer."""
    slices: dict[int, list[float]] = defaultdict(list)
    for at, to, _, _ in requests:
        slices[int(to.split()[0][-4:]) % 20].append(at)
    found: dict[str, list[float]] = defaultdict(list)
    for fault in faults:
        nexts = [next((at - fault.ended for at in its if at >= fault.ended), None) for its in slices.values()]
        if nexts and None not in nexts:
            found[fault.kind].append(max(nexts))
    return found
