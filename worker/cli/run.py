"""`run`."""

from enum import StrEnum
from typing import Annotated

import typer
import uvloop

from schemas.messages import Lane
from worker.app import Duties, Role
from worker.cli.options import DEFAULT_CONFIG, ConfigOption
from worker.errors import ConfigurationError
from worker.lifecycle import stop_on_signals
from worker.routing.loading import Configuration, load_configuration
from worker.settings import DeliveryMode, Intake
from worker.starting import run_worker
from worker.state.schema import migrate
from worker.telemetry.log import set_up_logging


class LogLevel(StrEnum):
    """How much to say."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


def run(
    config: ConfigOption = DEFAULT_CONFIG,
    role: Annotated[
        list[Role] | None,
        typer.Option(help="What this process does; all roles unless named. May be repeated."),
    ] = None,
    lane: Annotated[
        list[Lane] | None, typer.Option(help="Which lanes it sends; all unless named. May be repeated.")
    ] = None,
    intake: Annotated[
        list[Intake] | None, typer.Option(help="Which intakes it routes; all unless named. May be repeated.")
    ] = None,
    log_level: Annotated[str, typer.Option(envvar="SMS_WORKER_LOG_LEVEL", help="How much to say.")] = LogLevel.INFO,
    pretty: Annotated[bool, typer.Option(help="Logs for people instead of JSON.")] = False,
) -> None:
    """
    Run the worker until SIGTERM or Ctrl-C, then finish what is under way and exit 0.

    It waits for Kafka and the state store, if they are away when it starts.

    By default one process does everything. In production what is urgent has processes of its own, so that a login code
    waits for nobody: `sms-worker run --role router --intake urgent` and `sms-worker run --role sender --lane urgent`.
    """
    for option, needs, given in (("--lane", Role.SENDER, lane), ("--intake", Role.ROUTER, intake)):
        if given and role and needs not in role:
            raise typer.BadParameter(f"{option} needs --role {needs}")
    set_up_logging(log_level, pretty=pretty)
    configuration = load_configuration(config)
    sends = Role.SENDER in (role or list(Role)) and configuration.settings.delivery.mode is not DeliveryMode.SIMULATE
    if sends and (missing := configuration.accounts.missing_credentials()):
        raise ConfigurationError(missing)
    url = configuration.settings.database.url.get_secret_value()
    if url.startswith("sqlite"):  # the embedded store belongs to this process alone
        migrate(url)
    duties = Duties(roles=role or tuple(Role), lanes=lane or tuple(Lane), intakes=intake or tuple(Intake))
    uvloop.run(_run(configuration, duties))


async def _run(configuration: Configuration, duties: Duties) -> None:
    with stop_on_signals() as stop:
        await run_worker(configuration, duties, stop)
