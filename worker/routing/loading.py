"""The whole configuration: read together, refused together."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from worker.config_files import YamlFile, load_yaml
from worker.content.templates import Templates, load_templates
from worker.delivery.accounts import Accounts, load_accounts
from worker.environment import load_settings
from worker.errors import ConfigurationError, Problem
from worker.policy.rules import Policy, load_policy
from worker.routing.checking import check
from worker.routing.table import RoutesFile, RoutingTable, load_routes
from worker.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Configuration:
    """
    Everything under `deploy/config`, valid as a whole.

    Attributes:
        warnings: What is unwise, but no mistake.
        folder: Where it stands.
        hash: Of all that stands there, byte for byte.
        has_policy: There is a policy.yaml that says something.
    """

    settings: Settings
    templates: Templates
    table: RoutingTable
    accounts: Accounts
    policy: Policy = field(default_factory=Policy)
    warnings: list[Problem] = field(default_factory=list)
    folder: Path | None = None
    hash: str = ""
    has_policy: bool = False


def load_configuration(folder: Path, **overrides: Any) -> Configuration:
    """
    Read *folder* whole; *overrides* replace top-level fields of `worker.yaml`.

    Raises:
        ConfigurationError: With every mistake of every file that could be read.
    """
    if not folder.is_dir():
        named = "worker.yaml, routes.yaml, providers.yaml, policy.yaml and templates/"
        message = f"is no folder; --config names the folder of {named}"
        raise ConfigurationError([Problem(str(folder), None, "", message)])
    problems: list[Problem] = []
    content = content_hash(folder)
    settings = _try(problems, lambda: load_settings(folder / "worker.yaml", **overrides))
    templates = _try(problems, lambda: load_templates(templates_in(folder)))
    routes = folder / "routes.yaml"
    if templates is None:  # what can be said of the routes without them
        _try(problems, lambda: load_yaml(routes).parse(RoutesFile))
    table = _try(problems, lambda: load_routes(routes, templates)) if templates else None
    accounts = _try(problems, lambda: load_accounts(folder / "providers.yaml"))
    policy = _try(problems, lambda: load_policy(folder / "policy.yaml"))
    if settings is None or templates is None or table is None or accounts is None or policy is None:
        raise ConfigurationError(problems)
    rules = folder / "policy.yaml"
    policy_file = load_yaml(rules) if rules.exists() else None
    found = check(settings, load_yaml(folder / "worker.yaml"), table, templates, accounts, policy, policy_file)
    if mistakes := [problem for problem in found if not problem.warning]:
        raise ConfigurationError(mistakes)
    table = replace(table, purposes=frozenset(policy.purposes))
    return Configuration(
        settings, templates, table, accounts, policy, found, folder, content, bool(policy_file and policy_file.content)
    )


def load_in_need(folder: Path) -> Configuration:
    """
    Return the configuration; if its rules have mistakes, the settings alone.

    For what must work whatever somebody is writing into routes and templates: taking back, silencing, seeing who runs what.

    Raises:
        ConfigurationError: Not even `worker.yaml` reads.
    """
    try:
        return load_configuration(folder)
    except ConfigurationError as error:
        settings = load_settings(folder / "worker.yaml")
        nothing = YamlFile(folder / "routes.yaml", {})
        policy = _try([], lambda: load_policy(folder / "policy.yaml")) or Policy()
        accounts = Accounts.model_construct(accounts={}, categories={})
        return Configuration(
            settings, Templates({}, {}), RoutingTable({}, nothing), accounts, policy, warnings=error.problems, folder=folder,
            hash=content_hash(folder),
        )  # fmt: skip


def templates_in(folder: Path) -> Path:
    """Return where the templates are: in the folder, or beside it, as in Kubernetes, where each is a volume of its own."""
    inside, beside = folder / "templates", folder.parent / "templates"
    return beside if not inside.is_dir() and beside.is_dir() else inside


def content_hash(folder: Path) -> str:
    """Return the hash of every configuration file's name and bytes."""
    digest = sha256()
    templates = templates_in(folder)
    files = [*((path.name, path) for path in folder.glob("*.yaml")),
             *((f"templates/{path.name}", path) for path in templates.glob("*.yaml"))]  # fmt: skip
    for name, path in sorted(files):
        content = path.read_bytes()
        digest.update(f"{name}\x1f{len(content)}\x1f".encode() + content)
    return digest.hexdigest()[:12]


def _try(problems: list[Problem], load: Callable[[], T]) -> T | None:
    try:
        return load()
    except ConfigurationError as error:
        problems += error.problems
        return None
