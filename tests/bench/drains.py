"""
Drain of a backlog with order by key, beside what else there is, and what a kill -9 in the middle leaves behind.

Duplicates are messages that the provider was asked for twice; overlaps are requests of one person that began before the one
before had its answer; order violations are first requests of one person that came the other way round. For the kill the
provider knows no keys: whoever asks twice texts twice. What nobody can know to have been sent the worker ends as `unknown`.
"""

import itertools
import random
import time
from collections import defaultdict
from typing import Any

from tests.bench.bench import CONTACTS, Bench, Double, command, double, note, started, sync, wait_for
from tests.bench.bench import worker as worker_command

Rows = list[dict[str, Any]]
SUBJECTS = ("worker", "gather loop", "FastStream, safe", "FastStream, fast")
LATENCY_MS, QUIET_S = 50, 45.0


def measure_drain(bench: Bench, messages: int, rows: Rows, *, zipf: bool = False, kill: bool = False) -> None:
    """Drain *messages* by each subject in turn."""
    case = ("Zipf 1.1" if zipf else "uniform") + (", kill -9" if kill else "")
    for subject in SUBJECTS:
        with double(LATENCY_MS) as provider:
            accounts = {"idempotency_h": 0} if kill else {}
            folder, prefix = bench.config("postgresql", provider.url, accounts=accounts)
            sync(bench.people(folder))
            sync(bench.write(folder, sync(bench.messages(folder, people_of(messages, zipf=zipf)))))
            words = (
                worker_command(folder, "--role", "sender", "--lane", "transactional")
                if subject == "worker"
                else command(
                    subject.split(",")[0].replace(" ", "_").lower(),
                    bootstrap=bench.broker,
                    topic=f"{prefix}.transactional",
                    url=f"{provider.url}/v1/public/sms-campaign/send",
                    safe=subject.endswith("safe"),
                )
            )
            note(rows, "drain", case, subject, drain(words, provider, messages, kill=kill))


def people_of(messages: int, *, zipf: bool) -> list[int]:
    """Return whom each message is for: each person as often, or by Zipf's law."""
    if not zipf:
        return [n % CONTACTS for n in range(messages)]
    weights = list(itertools.accumulate(1 / (rank + 1) ** 1.1 for rank in range(CONTACTS)))
    return random.Random(1).choices(range(CONTACTS), cum_weights=weights, k=messages)


def drain(words: list[str], provider: Double, messages: int, *, kill: bool) -> dict[str, Any]:
    """Run *words* until the provider was asked for everything; return what it saw."""

    def asked() -> bool:
        return provider.count() >= messages and len({row[3] for row in provider.requests()}) >= messages

    if kill:
        with started(words) as process:
            wait_for(lambda: provider.count() > messages * 0.4, 300, "the first half")
            process.kill()
        time.sleep(1)
        with started(words):
            until_quiet(provider)
        seen = sorted(provider.requests())
        return {"never_asked": messages - len({row[3] for row in seen}), **judged(seen)}
    with started(words):
        wait_for(asked, 900, "the drain")
        time.sleep(2)
    seen = sorted(provider.requests())
    wall = seen[messages - 1][0] - seen[0][0]
    return {"per_s": round(messages / wall, 1), "wall_s": round(wall, 2), **judged(seen)}


def until_quiet(provider: Double) -> None:
    """Wait until nothing has been asked for longer than a dead process's session and claims last."""
    count, since = -1, time.monotonic()
    while time.monotonic() - since < QUIET_S:
        if (now := provider.count()) != count:
            count, since = now, time.monotonic()
        time.sleep(0.5)


def judged(seen: list[list[Any]]) -> dict[str, int]:
    """Return duplicates, overlaps and order violations."""
    by_person: dict[str, list[list[Any]]] = defaultdict(list)
    for row in seen:
        by_person[row[2]].append(row)
    overlaps = violations = 0
    for its in by_person.values():
        overlaps += sum(after[0] < before[1] for before, after in itertools.pairwise(its))
        firsts = list(dict.fromkeys(row[3] for row in its))
        violations += sum(after < before for before, after in itertools.pairwise(firsts))
    return {
        "duplicates": len(seen) - len({row[3] for row in seen}),
        "overlaps": overlaps,
        "order_violations": violations,
    }
