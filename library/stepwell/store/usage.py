"""SQL on how workflows are used, and on the requests that led to them."""

import json
import sqlite3
import statistics
from collections.abc import Collection
from dataclasses import replace

from stepwell.model.usage import Usage
from stepwell.store import search_vectors

MAX_LEARNED = 10  # of one workflow; the migration's trigger keeps to it


def list_usage(connection: sqlite3.Connection, workflows: Collection[str]) -> dict[str, Usage]:
    """Return how workflows have been used; those that never were are left out."""
    marks = ", ".join("?" * len(workflows))
    rows = connection.execute(f"SELECT * FROM workflow_usage WHERE workflow IN ({marks})", tuple(workflows)).fetchall()
    return {row["workflow"]: replace(_usage(row), learned=learned(connection, row["workflow"])) for row in rows}


def merits(connection: sqlite3.Connection, ids: Collection[int]) -> dict[int, float]:
    """Return for workflows that have run how often that went well, failures counting against it."""
    marks = ", ".join("?" * len(ids))
    rows = connection.execute(
        f"SELECT id, completed, failed FROM workflow_usage JOIN workflows ON name = workflow WHERE id IN ({marks})",
        tuple(ids),
    )
    return {int(row["id"]): row["completed"] - 2.0 * row["failed"] for row in rows}


def forget_usage(connection: sqlite3.Connection, workflow: str) -> None:
    """Delete what is known of a workflow that is gone: another one may get its name."""
    connection.execute("DELETE FROM workflow_usage WHERE workflow = ?", (workflow,))
    connection.execute("DELETE FROM learned_requests WHERE workflow = ?", (workflow,))


def learned(connection: sqlite3.Connection, workflow: str) -> tuple[str, ...]:
    """Return the requests whose search led to runs of it that completed, newest first."""
    rows = connection.execute(
        "SELECT request FROM learned_requests WHERE workflow = ? ORDER BY at DESC, request LIMIT ?",
        (workflow, MAX_LEARNED),
    )
    return tuple(str(row["request"]) for row in rows)


def note_lead(connection: sqlite3.Connection, run_id: str, request: str, at: float) -> None:
    """Note the request that led to a run: learned when the run completes, at once if it has."""
    run = connection.execute("SELECT workflow, status, finished_at FROM runs WHERE id = ?", (run_id,)).fetchone()
    if run is None:
        return
    if run["finished_at"] is None:
        connection.execute("INSERT INTO search_leads VALUES (?, ?) ON CONFLICT DO NOTHING", (run_id, request))
    elif run["status"] == "completed":
        _learn(connection, str(run["workflow"]), request, at)


def _learn(connection: sqlite3.Connection, workflow: str, request: str, at: float) -> None:
    found = connection.execute("SELECT id FROM workflows WHERE name = ? AND deleted_at IS NULL", (workflow,)).fetchone()
    if found is None:
        return
    connection.execute(
        "INSERT INTO learned_requests (workflow, request, at) VALUES (?, ?, ?)"
        " ON CONFLICT (workflow, request) DO UPDATE SET times = times + 1, at = excluded.at",
        (workflow, request, at),
    )
    connection.execute(
        "DELETE FROM learned_requests WHERE workflow = ? AND request NOT IN (SELECT request FROM learned_requests"
        " WHERE workflow = ? ORDER BY at DESC LIMIT ?)",
        (workflow, workflow, MAX_LEARNED),
    )
    search_vectors.add_pending(connection, int(found["id"]), words=True)


def _usage(row: sqlite3.Row) -> Usage:
    recent = json.loads(row["recent"])
    seconds = [seconds for well, seconds in recent if well]
    return Usage(
        completed=row["completed"],
        failed=row["failed"],
        success_rate=round(sum(well for well, _ in recent) / len(recent), 3) if recent else None,
        median_seconds=round(statistics.median(seconds), 3) if seconds else None,
        last_run_at=row["last_run_at"],
        last_error=row["last_error"],
        last_error_at=row["last_error_at"],
    )
