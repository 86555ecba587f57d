"""Router and sender beside bare loops, and what the ledger costs."""

from typing import Any

from tests.bench.bench import ABOUT_CONTACTS, ABOUT_DATA, CONTACTS, Bench, double, note, run, sync

Rows = list[dict[str, Any]]


def measure_router(bench: Bench, events: int, rows: Rows) -> None:
    """With three conditions on the contact, and with three on the event alone, whose recipients come as numbers."""
    for case, routes in (("contact look-up", ABOUT_CONTACTS), ("no look-up", ABOUT_DATA)):
        for database in ("sqlite", "postgresql"):
            folder, prefix = bench.config(database, "http://127.0.0.1:1", routes=routes)
            sync(bench.people(folder))
            sync(bench.events(folder, events, by_phone=routes is ABOUT_DATA))
            topic, out = prefix.replace("sms", "in") + ".orders", f"{prefix}.marketing"
            bare = run("bare_router", bootstrap=bench.broker, topic=topic, out=out, count=events)
            note(rows, "router", case, "bare loop", bare)
            note(rows, "router", case, database, run("worker", config=str(folder), role="router", count=events))


def measure_sender(bench: Bench, messages: int, latency_ms: int, rows: Rows) -> None:
    """The sender on both databases, and without a ledger, each right after a bare loop on the same records."""
    case = f"{latency_ms} ms"
    with double(latency_ms) as provider:
        for database in ("sqlite", "postgresql", "no ledger"):
            folder, prefix = bench.config("sqlite" if database == "no ledger" else database, provider.url)
            sync(bench.people(folder))
            sync(bench.write(folder, sync(bench.messages(folder, [n % CONTACTS for n in range(messages)]))))
            url = f"{provider.url}/v1/public/sms-campaign/send"
            bare = {"topic": f"{prefix}.transactional", "out": f"{prefix}.marketing", "url": url}
            note(rows, "sender", case, "bare loop", run("bare_sender", bootstrap=bench.broker, count=messages, **bare))
            kind = "worker_without_ledger" if database == "no ledger" else "worker"
            note(rows, "sender", case, database, run(kind, config=str(folder), role="sender", count=messages))
        note(rows, "double", case, "its own ceiling", run("ceiling", port=provider.port, count=20_000))
