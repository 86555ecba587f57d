"""`run`, and `db upgrade`."""

from enum import StrEnum
from typing import Annotated

import typer
import uvloop

from schemas.messages import Lane
from worker.app import Role
from worker.cli.options import DEFAULT_CONFIG, ConfigOption
from worker.environment import load_settings
from worker.errors import ConfigurationError
from worker.lifecycle import stop_on_signals
from worker.routing.loading import Configuration, load_configuration
from worker.settings import DeliveryMode
from worker.starting import run_worker
from worker.state.database import migrate
from worker.telemetry.log import set_up_logging


class LogLevel(StrEnum):
    """How much to say."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


db = typer.Typer(help="The state store's schema.", no_args_is_help=True)


def run(
    config: ConfigOption = DEFAULT_CONFIG,
    role: Annotated[
        list[Role] | None,
        typer.Option(help="What this process does; all roles unless named. May be repeated."),
    ] = None,
    lane: Annotated[
        list[Lane] | None, typer.Option(help="Which lanes it sends; all unless named. May be repeated.")
    ] = None,
    log_level: Annotated[str, typer.Option(envvar="SMS_WORKER_LOG_LEVEL", help="How much to say.")] = LogLevel.INFO,
    pretty: Annotated[bool, typer.Option(help="Logs for people instead of JSON.")] = False,
) -> None:
    """
    Run the worker until SIGTERM or Ctrl-C, then finish what is under way and exit 0.

    It waits for Kafka and the state store, if they are away when it starts.

    By default one process does everything. In production the urgent sender is a process of its own:
    `sms-worker run --role sender --lane urgent`.
    """
    set_up_logging(log_level, pretty=pretty)
    configuration = load_configuration(config)
    sends = Role.SENDER in (role or list(Role)) and configuration.settings.delivery.mode is not DeliveryMode.SIMULATE
    if sends and (missing := configuration.accounts.missing_credentials()):
        raise ConfigurationError(missing)
    url = configuration.settings.database.url.get_secret_value()
    if url.startswith("sqlite"):  # the embedded store belongs to this process alone
        migrate(url)
    uvloop.run(_run(configuration, role or list(Role), lane or list(Lane)))


async def _run(configuration: Configuration, roles: list[Role], lanes: list[Lane]) -> None:
    with stop_on_signals() as stop:
        await run_worker(configuration, roles, lanes, stop)


@db.command("upgrade")
def upgrade(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Bring the state store's schema to this version. Workers refuse to start on another one."""
    migrate(load_settings(config / "worker.yaml").database.url.get_secret_value())
    typer.echo("the schema is up to date", err=True)
