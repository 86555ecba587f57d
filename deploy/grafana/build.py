"""
Writes the dashboards that Grafana is provisioned with; what they ask is in `panels.yml`.

    python -m deploy.grafana.build
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model
from ruamel.yaml import YAML

HERE = Path(__file__).parent
RUNBOOKS = "https://runbooks.example.com/sms-worker/on-call#"
SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """
    A panel.

    Attributes:
        title: A question.
        queries: PromQL by legend.
        unit: Grafana's name of it.
        about: What the answer means, and when to worry.
        runbook: A heading of docs/on-call.md.
        quiet: It has no data while all is well.
        bad: From here on it is red.
        better: Under here it is red.
    """

    title: str
    queries: dict[str, str]
    about: str
    runbook: str
    unit: str = "short"
    kind: Literal["lines", "number"] = "lines"
    quiet: bool = False
    bad: float | None = None
    better: float | None = None


def load() -> dict[str, tuple[str, list[Panel]]]:
    """Return title and panels of each dashboard, by its name."""
    told = YAML(typ="safe").load(HERE / "panels.yml")
    return {name: (its["title"], [Panel(**panel) for panel in its["panels"]]) for name, its in told.items()}


def built(panel: Panel, place: int) -> stat.Panel | timeseries.Panel:
    """Return a panel of half the width, or a quarter for a number."""
    number = panel.kind == "number"
    made = stat.Panel() if number else timeseries.Panel().fill_opacity(8).show_points("never")
    made = made.id(place).title(panel.title).description(panel.about).unit(panel.unit).datasource(SOURCE)
    made = made.span(6 if number else 12).height(5 if number else 8)
    link = dashboard.DashboardLink("What to do").url(RUNBOOKS + panel.runbook.lower()).target_blank(True)
    made = made.links([link])
    for ref, (legend, expression) in zip("ABCDEF", panel.queries.items(), strict=False):
        query = prometheus.Dataquery().expr(expression).legend_format(legend or "__auto").ref_id(ref)
        made = made.with_target(query.instant() if number else query.range())
    if panel.bad is not None or panel.better is not None:
        made = made.thresholds(_thresholds(panel))
    return made


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    first, then, at = ("green", "red", panel.bad) if panel.bad is not None else ("red", "green", panel.better)
    steps = [model.Threshold(value=None, color=first), model.Threshold(value=at, color=then)]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(steps)


def dashboard_of(name: str, title: str, panels: list[Panel]) -> str:
    """Return a dashboard as Grafana reads it."""
    others = dashboard.DashboardLink("Others").type(model.DashboardLinkType.DASHBOARDS).tags(["sms-worker"])
    its = (
        dashboard.Dashboard(f"SMS worker: {title}")
        .uid(f"sms-worker-{name}")
        .tags(["sms-worker"])
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("browser")
        .readonly()
        .with_variable(dashboard.DatasourceVariable("datasource").type("prometheus").label("Prometheus"))
        .link(others.as_dropdown(True))
    )
    for place, panel in enumerate(panels, 1):
        its = its.with_panel(built(panel, place))
    return JSONEncoder(sort_keys=True, indent=2).encode(its.build()) + "\n"


def written() -> dict[Path, str]:
    """Return every dashboard by its file."""
    return {HERE / "dashboards" / f"{name}.json": dashboard_of(name, *its) for name, its in load().items()}


if __name__ == "__main__":
    for path, text in written().items():
        path.write_text(text)
