"""`worker.yaml` and the environment become settings, or a list of mistakes by file and line."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from worker.config_files import YamlFile, explain, load_yaml, name_of, plain
from worker.errors import ConfigurationError, Problem
from worker.settings import Settings


def load_settings(path: Path, **overrides: Any) -> Settings:
    """
    Read `worker.yaml`, then the environment; *overrides* replace top-level fields of the file.

    Raises:
        ConfigurationError: With every mistake, by file and line, or by the variable that holds it.
    """
    file = load_yaml(path)
    try:
        settings = Settings(**{**plain(file.content), **overrides})
    except ValidationError as error:
        raise ConfigurationError([_place(file, place, message) for place, message in explain(error)]) from error
    problems = list(_production_problems(settings, file)) if settings.production else []
    if problems:
        raise ConfigurationError(problems)
    return settings


def _place(file: YamlFile, place: tuple[str | int, ...], message: str) -> Problem:
    node: Any = file.content
    for step in place[:-1]:
        node = node.get(step) if isinstance(node, dict) else node[int(step)] if isinstance(node, list) else None
    known = not place or (isinstance(node, dict) and place[-1] in node) or isinstance(node, list)
    if known or message.startswith("is required"):
        return file.problem(place, message)
    variable = "SMS_WORKER_" + "__".join(map(str, place)).upper()
    return Problem("environment", None, f"{variable} ({name_of(place)})", message)


PRODUCTION_COPIES = 3


def _production_problems(settings: Settings, file: YamlFile) -> list[Problem]:
    problems = []
    if settings.secret_files.key_ring is None:
        problems.append(file.problem(("secret_files", "key_ring"), "production needs the path of a key ring"))
    if settings.secret_files.pepper is None:
        problems.append(file.problem(("secret_files", "pepper"), "production needs the path of a pepper"))
    if settings.database.url.get_secret_value().startswith("sqlite"):
        problems.append(file.problem(("database", "url"), "found SQLite; production needs postgresql+asyncpg://"))
    if settings.kafka.replication < PRODUCTION_COPIES:
        told = (
            f"found {settings.kafka.replication}; production needs {PRODUCTION_COPIES}, or a broker's loss loses topics"
        )
        problems.append(file.problem(("kafka", "replication"), told))
    if settings.kafka.embedded:
        problems.append(file.problem(("kafka", "embedded"), "the embedded broker loses its data when it stops"))
    return problems
