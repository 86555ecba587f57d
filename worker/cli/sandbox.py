"""`sandbox`: the provider to develop against."""

import asyncio
from typing import Annotated

import typer

from worker.cli.printing import say
from worker.lifecycle import stop_on_signals
from worker.sandbox.provider import Behaviour, SandboxProvider
from worker.sandbox.server import open_sandbox


def sandbox(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8025,
    latency_ms: Annotated[float, typer.Option(help="Before each answer.")] = 0.0,
    error_rate: Annotated[float, typer.Option(min=0, max=1, help="Share of sends that fail.")] = 0.0,
    error_code: Annotated[int, typer.Option(help="How they fail: a code of Octopush, or an HTTP status.")] = 500,
    idempotency: Annotated[bool, typer.Option(help="Remember request ids, as Octopush does.")] = True,
) -> None:
    """
    Run a provider that speaks Octopush's HTTP API and texts nobody; open its page to see the phones.

    Point an account's `base_url` at http://127.0.0.1:8025/v1/public. Numbers ask for faults: +3360000 and a code of four
    digits (0103 bad recipient, 0104 no credit, 0429, 0500, 9001 hangs, 9002 resets, 9003 garbage, 9006 loses its answer).
    Behaviour changes while it runs: POST /sandbox/behaviour {"latency_ms": 50}.
    """
    behaviour = Behaviour(latency_ms=latency_ms, error_rate=error_rate, error_code=error_code, idempotency=idempotency)
    try:
        asyncio.run(_serve(SandboxProvider(behaviour), host, port))
    except OSError as error:
        say(f"cannot listen on {host}:{port}: {error.strerror}", err=True)
        raise typer.Exit(1) from None


async def _serve(provider: SandboxProvider, host: str, port: int) -> None:
    with stop_on_signals() as stop:
        async with open_sandbox(provider, host, port) as bound:
            say(f"http://{host}:{bound}/")
            say(f"base_url of an account: http://{host}:{bound}/v1/public", err=True)
            await stop.wait()
