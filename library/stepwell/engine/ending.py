"""The end of a run, wherever it is decided: what is stored, and who else learns of it."""

import json
import sqlite3

from stepwell.engine.border import across_runs
from stepwell.engine.state import forget_run
from stepwell.model import LIVE, JsonObject, RunStatus
from stepwell.store import family, journal, runs, timeline, waits
from stepwell.store.runs import RunRow

NAMES = {RunStatus.CANCELLED: "Cancelled", RunStatus.DEAD: "Dead", RunStatus.REJECTED: "ApprovalDenied"}


def end_run(
    connection: sqlite3.Connection,
    row: RunRow,
    status: RunStatus,
    now: float,
    *,
    output: bytes | None = None,
    error: str | None = None,
    reason: str | None = None,
    data: JsonObject | None = None,
) -> bool:
    """End a run: void what it waits for, write its last event, tell a parent that waits for it.

    False if it was to be cancelled and is wanted again meanwhile: it goes on.
    """
    if status is RunStatus.CANCELLED and runs.go_on_uncancelled(connection, row.id):
        return False
    runs.finish_run(connection, row.id, status, now, output=output, error=error, reason=reason)
    journal.doubt_open(connection, row.id)
    if status in (RunStatus.COMPLETED, RunStatus.TERMINATED, RunStatus.REJECTED):
        forget_run(connection, row)  # the others can be resumed
    shown = {"reason": reason} if reason else {}
    timeline.add_event(connection, row.id, now, f"run.{status}", shown | (data or {}))
    if row.parent_id is not None and row.parent_key is not None:
        decision = child_decision(status, output, error, reason)
        if waits.decide_wait(connection, row.parent_id, row.parent_key, decision, now):
            runs.wake_run(connection, row.parent_id)
    return True


def decide_for_ended_child(connection: sqlite3.Connection, parent_id: str, key: str, now: float) -> None:
    """Decide a parent's new wait at once, if the child that it is for has ended already."""
    child = family.find_child(connection, parent_id, key)
    if child is not None and child.status not in LIVE:
        decision = child_decision(child.status, child.output, child.error, child.reason)
        waits.decide_wait(connection, parent_id, key, decision, now)


def child_decision(status: RunStatus, output: bytes | None, error: str | None, reason: str | None) -> JsonObject:
    """Return how a child ended, as its parent's wait gets it."""
    brief: JsonObject = {
        "type": NAMES.get(status, "RunError"),
        "message": reason or f"the run ended as {status}",
        "code": str(status),
    }
    if error is not None:
        known = json.loads(error)
        brief = {name: known.get(name) for name in ("type", "message", "code")}
    return {
        "status": status,
        "output": across_runs(output).decode() if output is not None else None,
        "error": None if status in (RunStatus.COMPLETED, RunStatus.TERMINATED) else brief,
    }
