"""A run as text: how it ended, or what it waits for and what to type next."""

import shlex
from collections.abc import Iterable

from stepwell.engine import RunItem
from stepwell.model import JsonObject, Run, RunStatus, Wait
from stepwell.model.text import clean_text
from stepwell_server.cli.hints import for_terminal
from stepwell_server.cli.report import Exit
from stepwell_server.cli.text import block, columns, duration, moment, one_line, short_value
from stepwell_server.results import next_step, run_result

_EXITS = {
    RunStatus.COMPLETED: Exit.OK,
    RunStatus.TERMINATED: Exit.OK,
    RunStatus.IN_DOUBT: Exit.IN_DOUBT,
    RunStatus.WAITING: Exit.WAITING,
    RunStatus.SLEEPING: Exit.WAITING,
    RunStatus.PENDING: Exit.WAITING,
    RunStatus.RUNNING: Exit.WAITING,
}


def exit_code(run: Run) -> Exit:
    """Return the exit code that says how the run stands."""
    return _EXITS.get(run.status, Exit.FAILED)


def run_data(run: Run) -> JsonObject:
    """Return the run as MCP results show it, but uncut: no model has to read it."""
    return run_result(run) | {
        "input": run.input,
        "output": run.output,
        "step_results": run.step_results,
        "completed_steps": list(run.completed_steps),
        "skipped_steps": list(run.skipped_steps),
        "waiting_for": [wait.describe() for wait in run.waiting_for],
        "next": for_terminal(next_step(run)),
    }


def summary(run: Run, *, with_logs: bool = True) -> str:
    """Return how the run stands, why, and what can be done about it."""
    lines = [_headline(run)]
    if run.error is not None:
        lines += _error_lines(run)
    if run.termination_reason:
        lines.append(f"  reason: {one_line(run.termination_reason, 300)}")
    lines += [line for wait in run.waiting_for for line in wait_lines(run, wait)]
    lines += [f"  warning: {one_line(text, 300)}" for text in run.warnings]
    if run.queued is not None:
        lines.append(f"  queued: {one_line(run.queued, 300)}")
    if with_logs and run.last_logs:
        lines += ["  the end of its output:", *(block(text, "    ") for text in run.last_logs)]
    if next_command := _next(run):
        lines.append(f"  {next_command}")
    return "\n".join(lines)


def wait_lines(run: Run, wait: Wait) -> list[str]:
    """Return what the run waits for and the commands that decide it."""
    until = f" until {moment(wait.until)}" if wait.until is not None else ""
    prompt = block(wait.prompt).strip()
    key = f" --key {_quoted(wait.key)}" if len(run.waiting_for) > 1 else ""
    match wait.kind:
        case "approval":
            shown = [f"  waits for an approval{until}: {prompt}"]
            if wait.context is not None:
                shown.append(f"    {short_value(wait.context, 300)}")
            return [
                *shown,
                f"    stepwell approve {run.id}{key} --digest {wait.digest}",
                f"    stepwell reject {run.id}{key} --reason '...'",
            ]
        case "input":
            choices = [str(option.get("id")) for option in wait.options]
            shown = [f"  asks{until}: {prompt}"]
            if choices:
                shown.append(f"    one of: {one_line(', '.join(choices), 200)}")
            return [*shown, f"    stepwell answer {run.id}{key} ANSWER"]
        case "timer":
            return [f"  sleeps{until}"]
        case "event":
            return [f"  waits for the event {one_line(wait.name)}{until}", f"    stepwell emit {_quoted(wait.name)}"]
        case "in_doubt":
            shown = [f"  in doubt: {prompt}"]
            if wait.context is not None:
                shown.append(f"    {short_value(wait.context, 300)}")
            return [
                *shown,
                f"    stepwell resume {run.id} --decision retry    make the call again",
                f"    stepwell resume {run.id} --decision value --value JSON    it happened and gave this",
                f"    stepwell resume {run.id} --decision fail    let the workflow see an error",
            ]
        case "child":
            child = wait.context.get("run_id") if isinstance(wait.context, dict) else None
            return [f"  waits for the workflow {one_line(wait.name)}" + (f": stepwell show {child}" if child else "")]


def table(runs: Iterable[RunItem]) -> list[str]:
    """Return runs as aligned lines."""
    rows = [
        (run.id, run.status, moment(run.created_at), duration(run_seconds(run)), run.workflow, _remark(run))
        for run in runs
    ]
    return columns(rows)


def run_seconds(run: Run | RunItem) -> float | None:
    """Return how long an ended run took, waits included."""
    if run.finished_at is None:
        return None
    return run.finished_at - run.created_at


def _headline(run: Run) -> str:
    took = f" in {duration(run_seconds(run))}" if run.finished_at is not None else ""
    what = run.status.replace("_", " ")
    restored = f", {len(run.skipped_steps)} of {len(run.completed_steps)} steps restored" if run.skipped_steps else ""
    return f"{one_line(run.workflow)} {what}{took}{restored}{_spent(run)} (run {run.id})"


def _spent(run: Run) -> str:
    if not run.tokens_used:
        return ""
    return f", {run.tokens_used} tokens, " + ("cost not known" if run.cost_usd is None else f"${run.cost_usd:.4f}")


def _error_lines(run: Run) -> list[str]:
    error = run.error
    assert error is not None
    where = [
        f"step {error.step}" if error.step else "",
        f"attempt {error.attempt}" if error.attempt else "",
        f"line {error.line}" if error.line else "",
    ]
    place = ", ".join(part for part in where if part)
    lines = [block(f"{error.type}: {error.message}" + (f" ({place})" if place else ""), "  ")]
    lines += [f"    caused by {one_line(cause, 300)}" for cause in error.cause]
    if error.hint:
        lines.append(block(for_terminal(error.hint), "    "))
    return lines


def _next(run: Run) -> str:
    match run.status:
        case RunStatus.FAILED if run.error is not None and run.error.code == "budget_exceeded":
            return ""  # its hint has the command, with what it needs
        case RunStatus.FAILED | RunStatus.CANCELLED | RunStatus.DEAD:
            return f"To go on from here: stepwell resume {run.id}"
        case RunStatus.PENDING | RunStatus.RUNNING:
            return f"To follow it: stepwell resume {run.id}"
        case _:
            return ""


def _remark(run: RunItem) -> str:
    if run.error is not None:
        return f"{run.error.type}: {run.error.message}"
    if run.queued is not None:
        return run.queued
    return run.waiting_for[0].prompt or run.waiting_for[0].kind if run.waiting_for else ""


def _quoted(text: str) -> str:
    return shlex.quote(clean_text(text).replace("\n", "\\n"))
