"""Alerts: each is tried firing and quiet, has its page, and asks only for metrics that there are."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.conftest import require
from worker.telemetry import metrics
from worker.telemetry.catalogue import ENTRIES

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "deploy" / "prometheus"
RULES = YAML(typ="safe").load(FOLDER / "rules.yml")
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule}
ALWAYS_FIRES = {"SmsHeartbeat"}


def run(*command: str) -> str:
    require(None if shutil.which(command[0]) else f"{command[0]} is missing (apt: prometheus, prometheus-alertmanager)")
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_alert_fires_when_it_should_and_is_quiet_when_it_should_be() -> None:
    run("promtool", "check", "rules", "--lint=all", "--lint-fatal", "rules.yml")
    run("promtool", "test", "rules", "rules_test.yml")

    tried = YAML(typ="safe").load(FOLDER / "rules_test.yml")["tests"]
    fires, quiet = set(), set()
    for test in tried:
        (each,) = test["promql_expr_test"]
        (fires if each["exp_samples"] else quiet).add(re.search(r'alertname="(\w+)"', each["expr"])[1])
    assert fires == set(ALERTS)
    assert quiet == set(ALERTS) - ALWAYS_FIRES


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_it_means_and_where_to_read_on(name: str) -> None:
    rule = ALERTS[name]
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs" / "on-call.md").read_text(), re.MULTILINE)

    assert rule["labels"]["severity"] in ("page", "ticket", "none")
    assert rule["annotations"]["runbook_url"].endswith(f"/on-call#{name.lower()}")
    assert name in headings
    assert {"summary", "description"} <= set(rule["annotations"])
    assert set(headings) == set(ALERTS)


def test_rules_ask_only_for_metrics_that_there_are_and_labels_that_these_have() -> None:
    assert metrics.INFO is not None  # the module fills the catalogue
    recorded = {rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule}
    for group in RULES["groups"]:
        for rule in group["rules"]:
            for name, labels in re.findall(r"\b(sms[a-z0-9_:]+)(?:\{([^}]*)\})?", rule["expr"]):
                if name in recorded:
                    continue
                entry = ENTRIES[re.sub(r"_(bucket|count|sum)$", "", name)]
                assert set(re.findall(r"(\w+)(?==|!)", labels)) <= {*entry.labels, "le"}, (name, labels)


def test_alertmanager_and_prometheus_take_their_configuration() -> None:
    run("amtool", "check-config", "alertmanager.yml")
    run("promtool", "check", "config", "--syntax-only", "prometheus.yml")


def test_inhibitions_name_alerts_that_there_are() -> None:
    configuration = YAML(typ="safe").load(FOLDER / "alertmanager.yml")

    for rule in configuration["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            if found := re.fullmatch(r'alertname(=~?|!~)"(.+)"', matcher):
                for pattern in found[2].split("|"):
                    assert any(re.fullmatch(pattern, alert) for alert in ALERTS), pattern
