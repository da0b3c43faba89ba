"""Commands by which a person decides what a run waits for."""

import os
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import click

from stepwell.engine.gating import is_operators
from stepwell.errors import Conflict, Forbidden
from stepwell.model import LIVE, Json, Run, RunStatus
from stepwell_server.app import App
from stepwell_server.authority import demands_person, find_doubt, needs_person
from stepwell_server.cli.arguments import read_json
from stepwell_server.cli.commands import Command
from stepwell_server.cli.executing import execute
from stepwell_server.cli.opening import in_app
from stepwell_server.cli.report import Exit, Invocation, note
from stepwell_server.cli.run_text import run_data, summary
from stepwell_server.cli.terminal import is_interactive
from stepwell_server.cli.workers import serving

Decide = Callable[[App], Awaitable[Run]]
_IDLE = frozenset({RunStatus.PENDING, RunStatus.RUNNING, RunStatus.SLEEPING})

_key = click.option("--key", help="Which of several things the run waits for.")
_no_wait = click.option("--no-wait", is_flag=True, help="Only record it; do not execute the run here.")


@click.command(cls=Command)
@click.argument("run_id", metavar="RUN")
@_key
@click.option("--digest", help="Approve only what has this digest, as it was shown.")
@click.option("--reviewer", help="Who approves [default: the user's name].")
@click.option("--reason", default="", help="Kept with the decision.")
@click.option(
    "--for",
    "scope",
    type=click.Choice(["once", "run", "workflow", "always"]),
    default="once",
    help="A tool or host: this call only, the same in this run, in all runs of this version of the workflow, always.",
)
@_no_wait
@click.pass_obj
def approve(
    invocation: Invocation,
    run_id: str,
    key: str | None,
    digest: str | None,
    reviewer: str | None,
    reason: str,
    scope: str,
    no_wait: bool,
) -> int:
    """Approve what RUN waits for."""
    decide = _decision(run_id, "approve", key=key, digest=digest, reviewer=reviewer, reason=reason, scope=scope)
    return _decide(invocation, decide, no_wait=no_wait)


@click.command(cls=Command)
@click.argument("run_id", metavar="RUN")
@click.option("--reason", required=True, help="Kept with the decision and told to the workflow.")
@_key
@click.option("--digest", help="Reject only what has this digest, as it was shown.")
@click.option("--reviewer", help="Who rejects [default: the user's name].")
@_no_wait
@click.pass_obj
def reject(
    invocation: Invocation,
    run_id: str,
    reason: str,
    key: str | None,
    digest: str | None,
    reviewer: str | None,
    no_wait: bool,
) -> int:
    """Reject what RUN waits for."""
    decide = _decision(run_id, "reject", key=key, digest=digest, reviewer=reviewer, reason=reason)
    return _decide(invocation, decide, no_wait=no_wait)


@click.command(cls=Command)
@click.argument("run_id", metavar="RUN")
@click.argument("value")
@click.option("--json", "as_json", is_flag=True, help="VALUE is JSON, such as a list of ids; @FILE or - reads it.")
@_key
@_no_wait
@click.pass_obj
def answer(invocation: Invocation, run_id: str, value: str, as_json: bool, key: str | None, no_wait: bool) -> int:
    """Answer RUN's question with VALUE: text, or the id of an option; several ids with commas between."""
    given = read_json(value, "VALUE") if as_json else value

    async def decide(app: App) -> Run:
        await _check_person(app, run_id, key=key)
        return await app.engine.decide(run_id, "answer", value=given, key=key, reviewer=_user(), via="cli")

    return _decide(invocation, decide, no_wait=no_wait)


@click.command(cls=Command)
@click.argument("run_id", metavar="RUN")
@click.option(
    "--decision",
    type=click.Choice(["retry", "value", "fail", "discard"]),
    help="For a run in doubt: make the call again, take --value as its outcome, let it fail; or give the run up. "
    "With --version: make effects beyond the point of agreement again, or use their results.",
)
@click.option("--value", "value_text", metavar="JSON", help="The outcome, with --decision value.")
@click.option("--version", help="Go on with this version of the workflow: the beginning of its hash, or current.")
@click.option("--budget-usd", type=float, help="What it may spend on models in all, after budget_exceeded.")
@_key
@_no_wait
@click.pass_obj
def resume(
    invocation: Invocation,
    run_id: str,
    decision: Literal["retry", "value", "fail", "discard"] | None,
    value_text: str | None,
    version: str | None,
    budget_usd: float | None,
    key: str | None,
    no_wait: bool,
) -> int:
    """Go on with RUN: one that has failed, was interrupted or cancelled, or is in doubt.

    Steps that were completed are not run again.
    """
    if version is None and (decision == "value") != (value_text is not None):
        raise click.UsageError("--value goes with --decision value, and that with --value.")
    value: Json = read_json(value_text, "--value") if value_text is not None else None

    async def decide(app: App) -> Run:
        run = await app.engine.get(run_id)
        if decision is None and version is None and run.status in LIVE:
            return _take_up(run)
        doubt = find_doubt(run, key)
        if decision in ("retry", "value") and doubt is not None and needs_person(app, run, doubt):
            _demand_person()
        return await app.engine.resume(
            run_id, decision, value=value, version=version, key=key, budget_usd=budget_usd, via="cli"
        )

    return _decide(invocation, decide, no_wait=no_wait)


def _decision(run_id: str, decision: Literal["approve", "reject"], *, reviewer: str | None, **more: Any) -> Decide:
    async def decide(app: App) -> Run:
        if decision == "approve":
            await _check_person(app, run_id, **more)
        return await app.engine.decide(run_id, decision, reviewer=reviewer or _user(), via="cli", **more)

    return decide


async def _check_person(app: App, run_id: str, *, key: str | None, scope: str = "once", **_: Any) -> None:
    if scope != "once":
        _demand_person("More than one call is approved by a person only.")
    run = await app.engine.get(run_id)
    shown = [wait for wait in run.waiting_for if wait.person and key in (None, wait.key)]
    if any(is_operators(wait.key) and wait.context.get("hosts") for wait in shown):
        _demand_person("A host that is not on the operator's list is approved by a person only.")
    if shown or demands_person(app, run):
        _demand_person()


def _demand_person(why: str = "The policy demands a person for this decision (stepwell.toml: [policy]).") -> None:
    if not is_interactive():
        raise Forbidden(why, hint="Approve at a terminal, or in a client that asks its user.")


def _decide(invocation: Invocation, decide: Decide, *, no_wait: bool) -> int:
    async def record(app: App) -> tuple[Run, list[int]]:
        return await decide(app), await serving(app.home, app.database)

    run, servers = in_app(invocation, record)
    if not no_wait and not servers and run.status in LIVE:
        return execute(invocation, lambda app: app.engine.get(run.id))
    if run.status in LIVE and not servers:
        note("No server runs on this home; the next one goes on with the run.")
    elif run.status in LIVE:
        note(f"The server with process id {servers[0]} goes on with the run.")
    invocation.put(run_data(run), summary(run))
    return Exit.OK


def _take_up(run: Run) -> Run:
    if run.status in _IDLE:
        return run
    raise Conflict(
        f"The run is {run.status.replace('_', ' ')}: there is something to decide first.",
        hint="\n".join(summary(run).split("\n")[1:]),
    )


def _user() -> str:
    return os.environ.get("USER") or os.environ.get("USERNAME") or ""
