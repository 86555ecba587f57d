"""
Writes the operator's PrometheusRule from `deploy/prometheus/rules.yml`, so that there is one text of each alert.

    python -m deploy.k8s.build
"""

from io import StringIO
from pathlib import Path

from ruamel.yaml import YAML

HERE = Path(__file__).parent
RULES = HERE.parent / "prometheus" / "rules.yml"
FILE = HERE / "components" / "monitoring" / "prometheusrule.yaml"
HEAD = "# Written by `make format` from deploy/prometheus/rules.yml.\n"


def written() -> str:
    """Return the file's text."""
    yaml, text = YAML(), StringIO()
    yaml.width = 160
    kind = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": {"name": "sms-worker"}}
    yaml.dump({**kind, "spec": YAML(typ="safe").load(RULES)}, text)
    return HEAD + text.getvalue()


if __name__ == "__main__":
    FILE.write_text(written(), "utf-8")
