"""Alerts: each is tried firing and quiet, has its page, and asks only for metrics that there are."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.conftest import require
from worker.state.jobs import TERMS
from worker.telemetry import metrics, resources
from worker.telemetry.catalogue import ENTRIES

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "deploy" / "prometheus"
RULES = YAML(typ="safe").load(FOLDER / "rules.yml")
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule}
RECORDED = {rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule}
ALWAYS_FIRES = {"SmsHeartbeat"}
assert metrics.INFO is not None
assert resources.USED is not None  # the modules fill the catalogue


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


def test_each_job_is_overdue_when_the_calendar_says_so() -> None:
    told = re.findall(r'task=~?"([^"]+)"\}\) > (?:(\d+) \* )?(\d+)', ALERTS["SmsJobOverdue"]["expr"])
    overdue_d = {job: int(count or 1) * int(size) / 86_400 for jobs, count, size in told for job in jobs.split("|")}

    assert overdue_d == {job.value: term.overdue_d for job, term in TERMS.items()}


def test_rules_ask_only_for_metrics_that_there_are_and_labels_that_these_have() -> None:
    for group in RULES["groups"]:
        for rule in group["rules"]:
            check_metrics(rule["expr"])


def check_metrics(query: str) -> None:
    """Compare names and labels with the catalogue, and with what the rules record."""
    for name, labels in re.findall(r"\b(sms[a-z0-9_:]+)(?:\{([^}]*)\})?", re.sub(r'"[^"]*"', '""', query)):
        if name not in RECORDED:
            entry = ENTRIES[re.sub(r"_(bucket|count|sum)$", "", name)]
            assert set(re.findall(r"(\w+)(?==|!)", labels)) <= {*entry.labels, "le"}, (name, labels)


def runbook() -> dict[str, str]:
    """The page of each alert."""
    text = (ROOT / "docs" / "on-call.md").read_text()
    found = re.split(r"^## (\w+)$", text, flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


@pytest.mark.parametrize("name", ALERTS)
def test_a_page_has_commands_to_type(name: str) -> None:
    typed = re.findall(r"^```sh\n(.+?)^```", runbook()[name], re.DOTALL | re.MULTILINE)

    assert any(
        line.split()[0] in {"sms-worker", "promtool", "kubectl", "amtool"}
        for block in typed
        for line in block.splitlines()
    )


def test_queries_of_the_runbook_are_right_and_ask_for_metrics_that_there_are(tmp_path) -> None:
    text = (ROOT / "docs" / "on-call.md").read_text()
    queries = re.findall(r"^promtool query instant \"\$PROMETHEUS\" '(.+?)'", text, re.MULTILINE)
    rules = [{"record": f"of_the_page:{n}", "expr": query} for n, query in enumerate(queries)]
    YAML().dump({"groups": [{"name": "page", "rules": rules}]}, tmp_path / "rules.yml")

    assert len(queries) > 20
    run("promtool", "check", "rules", "--lint=none", str(tmp_path / "rules.yml"))
    for query in queries:
        check_metrics(query)


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
