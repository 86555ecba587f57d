"""The shipped configuration, pointed at servers of one's own: for the demo and the tests."""

import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

EVERY_DAY = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
OPEN = {"default": {"days": EVERY_DAY, "holidays": "open"}}
UNCAPPED = {"marketing": [{"most": 1000, "per": "1s"}], "transactional": [{"most": 1000, "per": "1s"}]}


def zone_at(hour: int) -> str:
    """Return the name of a time zone in which it is about *hour* o'clock now: what is played keeps to real hours."""
    east = (hour - datetime.now(UTC).hour + 11) % 24 - 11  # from 11 hours west to 12 east
    return f"Etc/GMT{-east:+d}" if east else "Etc/UTC"  # POSIX: these names count westwards


@dataclass(frozen=True, kw_only=True)
class Stage:
    """
    Where a worker plays.

    Attributes:
        provider: Address of the sandbox: http://127.0.0.1:8025.
        rates: Segments per second, by category.
        accounts: Fields of both accounts to change.
        settings: Top-level fields of worker.yaml to change.
        delay: Of every route that has one: nobody watches for 45 minutes.
        policy: What policy.yaml says; open every day, and without caps, unless said.
    """

    broker: str
    provider: str
    database: str
    data: Path
    embedded: bool = True
    rates: dict[str, float] = field(default_factory=lambda: {"transactional": 500.0, "marketing": 500.0})
    max_in_flight: int = 50
    accounts: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    delay: str = "2s"
    policy: dict[str, Any] = field(default_factory=lambda: {"hours": OPEN, "caps": UNCAPPED})


CREDENTIALS = {
    "SANDBOX_LOGIN_TRANSACTIONAL": "transactional",
    "SANDBOX_LOGIN_MARKETING": "marketing",
    "SANDBOX_KEY": "key",
}


def write_configuration(shipped: Path, folder: Path, stage: Stage) -> Path:
    """Copy *shipped* to *folder* with worker.yaml and providers.yaml changed for *stage*; return the folder."""
    shutil.copytree(shipped, folder, dirs_exist_ok=True)
    _change(folder / "worker.yaml", lambda content: _change_worker(content, stage))
    _change(folder / "routes.yaml", lambda content: _change_routes(content, stage))
    _change(folder / "providers.yaml", lambda content: _change_providers(content, stage))
    YAML().dump(stage.policy, folder / "policy.yaml")
    return folder


def _change_worker(content: Any, stage: Stage) -> None:
    content["data_dir"] = str(stage.data)
    content["kafka"] = {
        "bootstrap_servers": stage.broker,
        "embedded": stage.embedded,
        "session_timeout_s": 6,
        "commit_every_s": 0.2,
    }
    content["database"] = {"url": stage.database}
    content["delivery"] = {"mode": "live"}
    content["web"] = {"port": 0}
    content["waiting"] = {"unknown_contact_s": 3}
    for intake in content["intakes"].values():
        for topic in intake["topics"]:
            topic["start"] = "earliest"
    content.update(stage.settings)


def _change_routes(content: Any, stage: Stage) -> None:
    for route in content["routes"]:
        if "delay" in route:
            route["delay"] = stage.delay


def _change_providers(content: Any, stage: Stage) -> None:
    for category, name in content["categories"].items():
        account = content["accounts"][name]
        account["base_url"] = f"{stage.provider}/v1/public"
        account["credentials"] = {"login_env": f"SANDBOX_LOGIN_{category.upper()}", "key_env": "SANDBOX_KEY"}
        account["segments_per_second"] = stage.rates[category]
        account["max_in_flight"] = stage.max_in_flight
        account.update(stage.accounts)


def _change(path: Path, change: Any) -> None:
    yaml = YAML()
    content = yaml.load(path)
    change(content)
    yaml.dump(content, path)
