"""What is deployed: manifests that their schemas take, that say what the code does, and an image that holds what it needs."""

import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
from ruamel.yaml import YAML

from deploy.k8s.build import FILE, written
from schemas.messages import Lane
from tests.conftest import require
from worker.app import LAST_WORD_S
from worker.cli import app
from worker.routing.loading import load_configuration, templates_in
from worker.settings import Intake, Settings
from worker.topics import Topics

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CUSTOM = ("ScaledObject", "ServiceMonitor", "PrometheusRule")
KUBERNETES = "1.34"


def run(*command: str, cwd: Path = ROOT, said: str | None = None) -> str:
    require(None if shutil.which(command[0]) else f"{command[0]} is missing")
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, input=said, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rendered(folder: Path) -> list[dict[str, Any]]:
    return [one for one in YAML(typ="safe").load_all(run("kubectl", "kustomize", str(folder))) if one]


@pytest.fixture(scope="module")
def resources() -> list[dict[str, Any]]:
    return rendered(DEPLOY)


@pytest.fixture(scope="module")
def with_components(tmp_path_factory) -> list[dict[str, Any]]:
    """As an installation that has both operators would have it."""
    folder = tmp_path_factory.mktemp("overlay")
    shutil.copytree(DEPLOY, folder / "deploy")
    (folder / "mine").mkdir()
    overlay = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": ["../deploy"]}
    components = [f"../deploy/k8s/components/{name}" for name in ("monitoring", "keda")]
    YAML().dump({**overlay, "components": components}, folder / "mine" / "kustomization.yaml")
    return rendered(folder / "mine")


def of(resources: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in resources if one["kind"] == kind}


def pods(resources: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The pod specs of everything that runs."""
    found = {name: one["spec"]["template"]["spec"] for name, one in of(resources, "Deployment").items()}
    found |= {name: one["spec"]["template"]["spec"] for name, one in of(resources, "Job").items()}
    crons = of(resources, "CronJob").items()
    return found | {name: one["spec"]["jobTemplate"]["spec"]["template"]["spec"] for name, one in crons}


def containers(resources: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every container, with the name of what runs it and its pod."""
    found = pods(resources).items()
    return [(name, pod, one) for name, pod in found for one in (*pod.get("initContainers", ()), *pod["containers"])]


def test_what_must_recur_the_schema_and_the_network_are_among_the_resources(resources) -> None:
    jobs = {
        name: pod["containers"][0]["args"] for name, pod in pods(resources).items() if name in of(resources, "CronJob")
    }
    migrate = of(resources, "Job")["sms-worker-migrate"]
    steps = [one["args"] for name, _, one in containers(resources) if name == "sms-worker-migrate"]
    (network,) = of(resources, "NetworkPolicy").values()

    assert jobs == {
        "sms-worker-prune": ["db", "prune", "--yes"], "sms-worker-retention": ["retention", "--yes"],
        "sms-worker-hygiene": ["numbers", "clean", "--yes"],
    }  # fmt: skip
    assert migrate["metadata"]["annotations"]["argocd.argoproj.io/hook"] == "Sync"
    assert steps == [["db", "upgrade"], ["topics", "create"]]
    assert {"Ingress", "Egress"} == set(network["spec"]["policyTypes"])
    assert len(of(resources, "PodDisruptionBudget")) == 3


def test_every_resource_is_what_kubernetes_takes(resources) -> None:
    assert len(resources) > 12
    for one in resources:
        kubernetes_validate.validate(one, KUBERNETES, strict=True)


def test_custom_resources_are_what_their_operators_take(with_components) -> None:
    if not (ROOT / "tests" / "manifests" / "node_modules").is_dir():
        require("the operators' schemas are missing: npm ci --prefix tests/manifests")
    custom = [one for one in with_components if one["kind"] in CUSTOM]

    assert sorted(one["kind"] for one in custom) == sorted(CUSTOM)
    assert {one["metadata"]["namespace"] for one in custom} == {"sms-worker"}
    run("node", "tests/manifests/validate.mjs", said=json.dumps(custom))
    assert FILE.read_text() == written(), "run `make format`"


def test_what_runs_may_do_as_little_as_possible(resources) -> None:
    for name, pod, container in containers(resources):
        its = container["securityContext"]
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["automountServiceAccountToken"] is False
        assert its["readOnlyRootFilesystem"]
        assert its["allowPrivilegeEscalation"] is False
        assert its["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["requests"]["memory"]
        assert container["resources"]["limits"]["memory"]
        assert not any("PASSWORD" in one["name"] and "FILE" not in one["name"] for one in container["env"])


def test_every_command_and_setting_of_a_pod_is_the_worker_s(resources) -> None:
    command = typer.main.get_command(app)
    for name, _, container in containers(resources):
        args, node = list(container["args"]), command
        while args and hasattr(node, "commands"):
            node = node.commands[args.pop(0)]
        known = {option for parameter in node.params for option in parameter.opts}
        assert {arg for arg in args if arg.startswith("--")} <= known, name
        for variable in (one["name"] for one in container["env"]):
            path = variable.removeprefix("SMS_WORKER_").lower().split("__")
            model: Any = Settings
            if variable == "SMS_WORKER_CONFIG":
                continue
            for step in path:
                assert step in model.model_fields, variable
                model = model.model_fields[step].annotation


def test_deployments_serve_every_lane_and_intake_once_and_outlast_their_drain(resources) -> None:
    deployments = of(resources, "Deployment")
    args = [word for one in deployments.values() for word in one["spec"]["template"]["spec"]["containers"][0]["args"]]
    served = [after for word, after in zip(args, args[1:], strict=False) if word in ("--lane", "--intake")]

    assert sorted(served) == sorted([*map(str, Lane), *map(str, Intake)])
    drain_s = Settings.model_fields["drain_s"].default
    for name, one in deployments.items():
        pod = one["spec"]["template"]["spec"]
        assert pod["terminationGracePeriodSeconds"] >= 2 * drain_s + LAST_WORD_S, name
        assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(pod["containers"][0])
        assert len(pod["topologySpreadConstraints"]) == 2
    budgets = of(resources, "PodDisruptionBudget").values()
    assert {one["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"] for one in budgets} == set(deployments)


def test_the_config_maps_hold_the_configuration_whole_as_the_worker_reads_it(resources, tmp_path) -> None:
    maps = of(resources, "ConfigMap")
    for name, folder in (("sms-worker-config", "config"), ("sms-worker-templates", "templates")):
        (tmp_path / folder).mkdir()
        for file, text in maps[name]["data"].items():
            (tmp_path / folder / file).write_text(text)
    here, shipped = load_configuration(tmp_path / "config"), load_configuration(DEPLOY / "config")

    assert templates_in(tmp_path / "config") == tmp_path / "templates"
    assert here.hash == shipped.hash
    assert set(here.templates.by_id) == set(shipped.templates.by_id)


def test_keda_scales_senders_by_their_own_groups_and_never_beyond_a_lane_s_partitions(with_components) -> None:
    (its,) = of(with_components, "ScaledObject").values()
    topics, settings = Topics("sms"), load_configuration(DEPLOY / "config").settings
    told = {one["metadata"]["topic"]: one["metadata"]["consumerGroup"] for one in its["spec"]["triggers"]}

    lanes = (Lane.TRANSACTIONAL, Lane.MARKETING)
    assert told == {topics.lane(lane): topics.sender_group(lane) for lane in lanes}
    assert its["spec"]["maxReplicaCount"] <= min(settings.lane(lane).partitions for lane in lanes)
    granted = sum(
        account.segments_per_second for account in load_configuration(DEPLOY / "config").accounts.accounts.values()
    )
    assert its["spec"]["maxReplicaCount"] == math.ceil(granted / 800) + 1
    scaled = of(with_components, "Deployment")[its["spec"]["scaleTargetRef"]["name"]]
    assert "replicas" not in scaled["spec"]


def test_compose_is_valid_and_its_worker_s_configuration_loads(tmp_path, monkeypatch) -> None:
    run("docker-compose", "--file", "deploy/compose.yaml", "config", "--quiet")
    compose = YAML(typ="safe").load(DEPLOY / "compose.yaml")
    for service in compose["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (DEPLOY / source).exists(), volume
    folder = shutil.copytree(DEPLOY / "config", tmp_path / "config")
    shutil.copy(DEPLOY / "compose" / "providers.yaml", folder)
    for name, value in compose["x-worker"]["environment"].items():
        monkeypatch.setenv(name, value)

    configuration = load_configuration(folder)

    assert configuration.accounts.missing_credentials() == []
    assert configuration.settings.kafka.bootstrap_servers == "kafka:9092"
    assert set(compose["services"]) >= {
        "kafka",
        "postgres",
        "prometheus",
        "alertmanager",
        "grafana",
        "sandbox",
        "worker",
    }


def stages(text: str) -> list[list[str]]:
    """The instructions of each stage of a Dockerfile, continued lines joined."""
    lines = [line for line in re.sub(r"\\\n\s*", " ", text).splitlines() if line and not line.startswith("#")]
    found: list[list[str]] = []
    for line in lines:
        if line.startswith("FROM "):
            found.append([])
        found[-1].append(line)
    return found


def test_the_image_runs_as_nobody_says_how_it_is_and_copies_what_there_is() -> None:
    build, final = stages((DEPLOY / "Dockerfile").read_text())
    words: Mapping[str, str] = {line.split()[0]: line for line in final}
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}

    assert words["USER"] == "USER 10001:10001"
    assert words["ENTRYPOINT"] == 'ENTRYPOINT ["sms-worker"]'
    assert "/healthz" in words["HEALTHCHECK"]
    for line in build:
        if line.startswith("COPY "):
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), source
                assert source in let_through, source
    assert not any("pip install" in line or "apt-get" in line for line in final)


@pytest.mark.timeout(280)
def test_the_built_package_needs_no_more_than_its_own_lock_file(tmp_path) -> None:
    """As the image is made: the locked dependencies, then the wheel, in an environment that has nothing else."""
    python = tmp_path / "venv" / "bin" / "python"
    run(sys.executable, "-m", "venv", str(tmp_path / "venv"))
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, "--require-hashes", "--requirement", "requirements-runtime.lock")
    run(*pip, "--no-deps", str(ROOT))
    command = str(python.with_name("sms-worker"))

    assert run(command, "--version", cwd=tmp_path).strip()
    run(command, "check", "--config", str(DEPLOY / "config"), cwd=tmp_path)
    listed = run(str(python), "-m", "pip", "list", "--format=freeze", cwd=tmp_path)
    assert "pytest" not in listed
