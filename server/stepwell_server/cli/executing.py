"""Executing a run in this process, at the terminal."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext

import click

from stepwell.model import LIVE, JsonObject, Run
from stepwell_server.app import App
from stepwell_server.cli.foreground import Foreground
from stepwell_server.cli.opening import in_app
from stepwell_server.cli.report import Exit, Invocation, note
from stepwell_server.cli.run_text import exit_code, run_data, summary
from stepwell_server.cli.terminal import LineReader, is_interactive
from stepwell_server.cli.text import shown_value, to_json
from stepwell_server.cli.view import open_view

_STDIN = 0


def execute(invocation: Invocation, begin: Callable[[App], Awaitable[Run]]) -> int:
    """Execute the run that `begin` returns here, until it ends or waits; return the exit code."""
    started: list[Run] = []

    async def work(app: App) -> Run:
        asking = is_interactive() and not invocation.is_json
        with open_view() as view, LineReader(_STDIN).reading() if asking else nullcontext() as reader:
            run = await begin(app)
            started.append(run)
            view.begin(run)
            foreground = Foreground(app, view, reader)
            ended = await foreground.follow(run.id)
            await _follow_parents(app, foreground, ended)
            return ended

    try:
        run = in_app(invocation, work, execute=True)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return _interrupted(invocation, started)
    return put_run(invocation, run)


async def _follow_parents(app: App, foreground: Foreground, run: Run) -> None:
    """Execute those who waited for the run, too: nobody else does."""
    while run.parent_id is not None and run.status not in LIVE:
        run = await app.engine.get(run.parent_id)
        if run.status not in LIVE:
            return
        foreground.view.begin(run)
        run = await foreground.follow(run.id)
        foreground.view.pause()
        note(summary(run))


def put_run(invocation: Invocation, run: Run) -> int:
    """Print a run: its output to stdout, everything about it to stderr."""
    if invocation.is_json:
        click.echo(to_json(run_data(run)))
        return exit_code(run)
    note(summary(run, with_logs=False))
    if run.output is not None:
        click.echo(shown_value(run.output))
    return exit_code(run)


def _interrupted(invocation: Invocation, started: list[Run]) -> int:
    if not started:
        raise KeyboardInterrupt
    run = started[0]
    hint = f"Go on with it: stepwell resume {run.id}; or end it: stepwell cancel {run.id}"
    message = "Interrupted. The run is kept as it is, with everything that it has done."
    if invocation.is_json:
        described: JsonObject = {"type": "Interrupted", "code": "interrupted", "message": message, "hint": hint}
        click.echo(to_json({"error": described, "run_id": run.id}))
    else:
        note(f"\n{message}\n{hint}")
    return Exit.INTERRUPTED
