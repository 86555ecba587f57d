"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path,
    typer.Option(
        "--config",
        envvar="SMS_WORKER_CONFIG",
        help="Folder of worker.yaml, routes.yaml, providers.yaml and templates/.",
    ),
]
DEFAULT_CONFIG = Path("deploy/config")
JsonOption = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")]
