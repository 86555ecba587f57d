"""Dashboards are what `panels.yml` says; every panel is a question with a unit, an explanation and a way out."""

import json
import re
from pathlib import Path

import pytest

from deploy.grafana.build import load, written
from tests.contracts.test_alerts import check_metrics

ROOT = Path(__file__).parents[2]
# Grafana's names: packages/grafana-data/src/valueFormats/categories.ts of its sources.
UNITS = {"short", "s", "ops", "percentunit", "currencyEUR", "bytes"}
HEADINGS = re.findall(r"^## (\w+)$", (ROOT / "docs" / "on-call.md").read_text(), re.MULTILINE)
PANELS = [(name, panel) for name, (_, panels) in load().items() for panel in panels]


@pytest.mark.parametrize("path", written(), ids=lambda path: path.name)
def test_a_dashboard_is_what_its_panels_say(path: Path) -> None:
    assert path.read_text() == written()[path], "run `make format`"

    told = json.loads(path.read_text())
    assert told["uid"].startswith("sms-worker-")
    assert len({panel["id"] for panel in told["panels"]}) == len(told["panels"])
    for panel in told["panels"]:
        assert panel["links"][0]["url"].startswith("https://")
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["expr"] for target in panel["targets"])


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=lambda one: getattr(one, "title", one))
def test_a_panel_is_a_question_with_a_unit_an_explanation_and_a_way_out(name: str, panel) -> None:
    assert panel.title.endswith("?")
    assert panel.unit in UNITS
    assert len(panel.about) > 5
    assert panel.runbook in HEADINGS


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=lambda one: getattr(one, "title", one))
def test_a_panel_asks_only_for_metrics_that_there_are_and_labels_that_these_have(name: str, panel) -> None:
    for query in panel.queries.values():
        check_metrics(query)


def test_there_is_a_dashboard_for_each_who_looks() -> None:
    titles = {title for title, _ in load().values()}

    assert titles == {
        "Overview",
        "Lanes and latency",
        "Compliance",
        "Providers and money",
        "Dead letters and replay",
        "Kafka and process",
    }
    assert len({panel.title for _, panels in load().values() for panel in panels}) > 40
