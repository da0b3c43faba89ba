"""A run as it is shown, from its rows."""

import json
import sqlite3
from collections import Counter
from typing import Any

import msgspec

from stepwell.engine.border import show
from stepwell.engine.inquiring import MARK
from stepwell.engine.queueing import why_queued
from stepwell.model import LIVE, ErrorInfo, Json, Run, RunStatus, Wait
from stepwell.model.text import clean_text
from stepwell.ports.frames import Failure
from stepwell.store import journal, timeline, waits
from stepwell.store.runs import RunRow

LAST_LINES = 8  # of output, shown with a run that has failed
LAST_TEXT = 300  # characters of each
RETRY_KEY = "!retry"  # of the timer of a run that is tried again; no call has it


def view_run(connection: sqlite3.Connection, row: RunRow, *, steps: bool | None = True) -> Run:
    """Return the run with its waits and, if wanted, its steps, of which there may be many thousands.

    With `steps` as None they are wanted of a run that has ended.
    """
    results = _results(connection, row.id) if steps or (steps is None and row.status not in LIVE) else {}
    shown = list_shown_waits(connection, row)
    output = show(row.output)
    return Run(
        id=row.id,
        workflow=row.workflow,
        version=row.version,
        status=_shown_status(row, shown),
        input=show(row.input).value,
        created_at=row.created_at,
        output=output.value,
        error=read_error(row),
        step_results=results,
        completed_steps=tuple(results),
        skipped_steps=row.restored,
        waiting_for=shown,
        tokens_used=row.tokens_used,
        cost_usd=row.cost_usd if row.tokens_used else 0.0,
        started_at=row.started_at,
        finished_at=row.finished_at,
        terminated=row.status is RunStatus.TERMINATED,
        termination_reason=row.reason if row.status is RunStatus.TERMINATED else None,
        session_id=row.session_id,
        user_id=row.user_id,
        parent_id=row.parent_id,
        sandbox_level=row.sandbox_level,
        attempts=row.attempts,
        failures=row.failures,
        from_run=row.options.get("from_run"),
        warnings=tuple(dict.fromkeys(output.warnings)),
        queued=why_queued(connection, row),
        last_logs=_last_logs(connection, row),
    )


def _shown_status(row: RunRow, waits_: tuple[Wait, ...]) -> RunStatus:
    # A tool that asks a person on its way keeps the run's process; nobody but the person can make it go on.
    asked = row.status is RunStatus.RUNNING and any(MARK in wait.key for wait in waits_)
    return RunStatus.WAITING if asked else row.status


def _last_logs(connection: sqlite3.Connection, row: RunRow) -> tuple[str, ...]:
    if row.status not in (RunStatus.FAILED, RunStatus.DEAD):
        return ()
    lines = timeline.list_last_logs(connection, row.id, LAST_LINES)
    return tuple(
        f"{line.level}{f' in {line.step}' if line.step else ''}: {line.text[:LAST_TEXT]}"
        + (" [cut]" if len(line.text) > LAST_TEXT else "")
        for line in lines
    )


def list_shown_waits(connection: sqlite3.Connection, row: RunRow) -> tuple[Wait, ...]:
    """Return what the run waits for; one that failed and will be tried again waits for a timer."""
    shown = tuple(wait.shown() for wait in waits.list_waits(connection, row.id, "open"))
    if row.status is not RunStatus.SLEEPING or row.error is None:
        return shown
    prompt = f"Failed, and is tried again: {read_brief(row.error)}"
    return (*shown, Wait(row.id, RETRY_KEY, "timer", prompt, until=row.wake_at, name="retry"))


def read_brief(error: str) -> str:
    """Return `Type: message` of a stored error."""
    known = json.loads(error)
    return clean_text(f"{known['type']}: {known['message']}"[:500])


def _results(connection: sqlite3.Connection, run_id: str) -> dict[str, Json]:
    results: dict[str, Json] = {}
    seen: Counter[str] = Counter()
    for name, value in journal.list_results(connection, run_id):
        seen[name] += 1
        results[name if seen[name] == 1 else f"{name}#{seen[name]}"] = show(value).value
    return results


def read_error(row: RunRow) -> ErrorInfo | None:
    """Return why a run ended, if it did not complete."""
    if row.error is not None:
        return ErrorInfo(**_known(json.loads(row.error)))
    if row.status is RunStatus.CANCELLED:
        return ErrorInfo("Cancelled", row.reason or "the run was cancelled", code="cancelled")
    if row.status is RunStatus.DEAD:
        return ErrorInfo(
            "Dead",
            "every process that took the run up died, without progress",
            code="dead",
            hint=f"Look at its logs, then resume_run(run_id={row.id!r}) to try again.",
        )
    return None


def _known(fields: dict[str, Any]) -> dict[str, Any]:
    return fields | {"cause": tuple(fields.get("cause", ()))}


def error_info(failure: Failure, hint: str = "") -> ErrorInfo:
    """Return a guest's failure as it is kept with the run."""
    return ErrorInfo(
        failure.type,
        failure.message,
        failure.code,
        failure.step,
        failure.attempt,
        failure.line,
        tuple(failure.cause),
        failure.traceback,
        hint,
        failure.key,
    )


def dump_error(error: ErrorInfo) -> str:
    """Return the form of the `error` column."""
    return msgspec.json.encode(error).decode()
