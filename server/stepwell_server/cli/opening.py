"""The home, opened for the length of one command."""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import uvloop

from stepwell_server.app import App, open_app
from stepwell_server.cli.report import Invocation, note
from stepwell_server.cli.text import one_line

T = TypeVar("T")


def in_app(invocation: Invocation, work: Callable[[App], Awaitable[T]], *, execute: bool = False) -> T:
    """Return what `work` returns; with `execute` this process takes up runs meanwhile."""

    async def opened() -> T:
        async with open_app(invocation.home, execute=execute) as app:
            _log_to_file(app)
            await _take_in_files(app)
            return await work(app)

    return uvloop.run(opened())


def _log_to_file(app: App) -> None:
    # On the terminal it would break into the picture of a run.
    folder = app.home.path / "logs"
    folder.mkdir(exist_ok=True, mode=0o700)
    handler = logging.FileHandler(folder / "cli.log", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


async def _take_in_files(app: App) -> None:
    report = await app.folder.refresh()
    for problem in report.problems:
        where = f"{problem.path}:{problem.line}" if problem.line else str(problem.path)
        note(f"Skipped {one_line(where)}: {one_line(problem.message, 300)}")
