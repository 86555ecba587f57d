"""What a message leaves behind: bytes in PostgreSQL and in Kafka, updates of the rows that everybody wants."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tests.bench.bench import Bench, double, note, started, sync, wait_for, worker
from worker.routing.loading import load_configuration
from worker.servers import DatabaseSettings
from worker.state.database import open_database

Rows = list[dict[str, Any]]
# Bytes of a table and of its indexes; how often its rows were written, and how often that moved none of their indexes.
TABLES = sa.text("""
    SELECT relname AS name, pg_table_size(relid) AS bytes, pg_indexes_size(relid) AS index_bytes,
           n_tup_ins AS inserts, n_tup_upd AS updates, n_tup_hot_upd AS hot_updates
    FROM pg_stat_user_tables WHERE relname IN ('ledger', 'accounts', 'contacts', 'person_keys')
""")


def measure_sizes(bench: Bench, messages: int, rows: Rows) -> None:
    """Let a whole worker send *messages*, and look at what the servers keep."""
    with double(50) as provider:
        folder, prefix = bench.config("postgresql", provider.url)
        sync(bench.people(folder))
        sync(bench.events(folder, messages))
        log = bench.folder / "kafka"
        with started(worker(folder), bench.folder / "sizes.log"):
            wait_for(lambda: provider.count() >= messages, 600, "the last message")
            time.sleep(5)
            settings = load_configuration(folder).settings
            tables = sync(_tables(settings.database))
    for name, its in sorted(tables.items()):
        told = {
            "rows_per_message": round(its["inserts"] / messages, 2),
            "updates_per_message": round(its["updates"] / messages, 3),
        }
        share = its["hot_updates"] / its["updates"] if its["updates"] else 0.0
        size = {"bytes": round(its["bytes"] / messages), "index_bytes": round(its["index_bytes"] / messages)}
        note(rows, "sizes", f"table {name}", "a message", {**size, **told, "hot_share": round(share, 3)})
    for topic in (f"{prefix.replace('sms', 'in')}.orders", f"{prefix}.transactional", f"{prefix}.outcomes"):
        note(
            rows,
            "sizes",
            f"topic {topic.split('.')[-1]}",
            "a message",
            {"bytes": round(_log_bytes(log, topic) / messages)},
        )


async def _tables(settings: DatabaseSettings) -> Mapping[str, Mapping[str, int]]:
    async with open_database(settings, tool=True) as database, database.reading() as connection:
        await connection.execute(sa.text("SELECT pg_stat_force_next_flush()"))
        return {row.name: row._asdict() for row in await connection.execute(TABLES)}


def _log_bytes(folder: Path, topic: str) -> int:
    """Bytes of the segments of a topic, one copy; the broker makes its indexes larger than they are beforehand."""
    return sum(path.stat().st_size for path in folder.rglob("*.log") if path.parent.name.rpartition("-")[0] == topic)
