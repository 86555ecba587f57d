"""`demo`."""

import asyncio
import shutil
from pathlib import Path
from typing import Annotated

import typer

from worker.cli.options import DEFAULT_CONFIG, ConfigOption
from worker.cli.printing import PlainConsole
from worker.demo.playing import play
from worker.lifecycle import stop_on_signals

MARK = ".sms-worker-demo"


def demo(
    config: ConfigOption = DEFAULT_CONFIG,
    folder: Annotated[
        Path,
        typer.Option(help="Where its data, configuration and log go; a new or empty folder, or an earlier demo's."),
    ] = Path(".data/demo"),
) -> None:
    """
    Play a shop's day on an embedded broker, a sandbox provider and SQLite, and show what becomes of each event.

    Real processes and real protocols, nobody texted; takes about a minute, ends by itself and leaves nothing running.
    """
    _empty(folder)
    raise typer.Exit(asyncio.run(_play(config, folder)))


def _empty(folder: Path) -> None:
    """Make *folder*, or empty it if an earlier demo made it; whatever else is in it is somebody's."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).is_file():
        message = f"{folder} is not empty, and no demo made it; name another folder"
        raise typer.BadParameter(message, param_hint="--folder")
    if folder.exists() and not folder.is_dir():
        raise typer.BadParameter(f"{folder} is a file; name a folder", param_hint="--folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARK).write_text("sms-worker demo made this folder, and empties it when it runs again\n")


async def _play(config: Path, folder: Path) -> int:
    """Return the exit code: 0 if everything added up, 130 after Ctrl-C."""
    console = PlainConsole(highlight=False, soft_wrap=True)
    with stop_on_signals() as stop:
        playing = asyncio.ensure_future(play(config, folder, console))
        stopped = asyncio.ensure_future(stop.wait())
        await asyncio.wait({playing, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not playing.done():
            playing.cancel()
            await asyncio.wait({playing})
            console.print("stopped; nothing is left running")
            return 130
        return 0 if playing.result() else 1
