"""`admin`: pages for operators and support, in a browser."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from worker.admin.entering import SHORTEST_TOKEN, is_loopback
from worker.admin.server import open_admin_pages
from worker.cli.options import DEFAULT_CONFIG, ConfigOption
from worker.cli.printing import say
from worker.lifecycle import stop_on_signals
from worker.servers import read_password
from worker.tools import open_tools


def admin(
    host: Annotated[
        str, typer.Option(help="Address to listen on; another than this machine's needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 9465,
    token_file: Annotated[
        Path | None,
        typer.Option(envvar="SMS_WORKER_ADMIN_TOKEN_FILE", help="A file with the token that people must give."),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """
    Show dead letters, what a replay would do, and what was sent to somebody, as pages in a browser, until Ctrl-C.

    It only looks. What changes something is a command: `sms-worker dead-letters replay`. Looks at a person are audited.
    It is a process of its own, so that reading topics for people takes nothing from the worker. Put TLS before it if it is
    to be reached from elsewhere.

    Example: `sms-worker admin`, then open http://127.0.0.1:9465
    """
    token = read_password(token_file, "--token-file") if token_file is not None else None
    if token is None and not is_loopback(host):
        raise typer.BadParameter(f"{host} can be reached from elsewhere; give --token-file", param_hint="--host")
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise typer.BadParameter(
            f"the token has {len(token)} characters; {SHORTEST_TOKEN} are needed", param_hint="--token-file"
        )
    asyncio.run(_run(config, host, port, token))


async def _run(config: Path, host: str, port: int, token: str | None) -> None:
    with stop_on_signals() as stop:
        async with open_tools(config) as tools, open_admin_pages(tools, host, port, token) as its_port:
            say(f"http://{host}:{its_port}/  Ctrl-C ends it", err=True)
            await stop.wait()
