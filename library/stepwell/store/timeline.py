"""Events and logs of runs, numbered from 1 in each run."""

import json
import sqlite3
import time
from collections.abc import Sequence
from typing import NamedTuple

from stepwell.model import JsonObject
from stepwell.store.rows import insert_rows

KEPT_LINES = 10_000  # of output of one run, the newest
KEPT_LINE_BYTES = 4 * 1024 * 1024
LINE_BYTES = 50  # what a line takes besides its text
KEPT_NOTES = 5_000  # of a run's own progress, the newest
# What a workflow can add without making an entry of the journal.
NOTES_SQL = (
    "'progress', 'step.started', 'node.started', 'node.completed', 'node.failed', 'node.skipped', 'node.iteration'"
)


class EventRow(NamedTuple):
    """One event."""

    n: int
    at: float
    type: str
    data: JsonObject


class LogRow(NamedTuple):
    """One line of output."""

    n: int
    at: float
    level: str
    text: str
    step: str


class NewEvent(NamedTuple):
    """An event before it has its number."""

    at: float
    type: str
    data: str
    """JSON."""


class NewLog(NamedTuple):
    """A line of output before it has its number."""

    at: float
    level: str
    text: str
    step: str


def add_event(connection: sqlite3.Connection, run_id: str, at: float, kind: str, data: JsonObject) -> None:
    """Append an event."""
    connection.execute(
        "INSERT INTO events (run_id, n, at, type, data) "
        "SELECT ?1, coalesce(max(n), 0) + 1, ?2, ?3, ?4 FROM events WHERE run_id = ?1",
        (run_id, at, kind, json.dumps(data)),
    )


def add_events(connection: sqlite3.Connection, run_id: str, events: Sequence[NewEvent]) -> None:
    """Append events."""
    if events:
        first = _next(connection, "events", run_id)
        rows = [(run_id, n, *event) for n, event in enumerate(events, first)]
        insert_rows(connection, "INSERT INTO events (run_id, n, at, type, data)", rows)


def add_logs(connection: sqlite3.Connection, run_id: str, logs: Sequence[NewLog]) -> None:
    """Append lines of output."""
    if logs:
        first = _next(connection, "logs", run_id)
        rows = [(run_id, n, *log) for n, log in enumerate(logs, first)]
        insert_rows(connection, "INSERT INTO logs (run_id, n, at, level, text, step)", rows)


def _next(connection: sqlite3.Connection, table: str, run_id: str) -> int:
    return connection.execute(f"SELECT coalesce(max(n), 0) + 1 FROM {table} WHERE run_id = ?", (run_id,)).fetchone()[0]


def list_events(connection: sqlite3.Connection, run_id: str, after: int, limit: int) -> list[EventRow]:
    """Return events in order."""
    sql = "SELECT n, at, type, data FROM events WHERE run_id = ? AND n > ? ORDER BY n LIMIT ?"
    rows = connection.execute(sql, (run_id, after, limit))
    return [EventRow(row["n"], row["at"], row["type"], json.loads(row["data"])) for row in rows]


def list_logs(connection: sqlite3.Connection, run_id: str, after: int, limit: int) -> list[LogRow]:
    """Return lines of output in order."""
    sql = "SELECT n, at, level, text, step FROM logs WHERE run_id = ? AND n > ? ORDER BY n LIMIT ?"
    return [LogRow(*row) for row in connection.execute(sql, (run_id, after, limit))]


def list_last_logs(connection: sqlite3.Connection, run_id: str, limit: int) -> list[LogRow]:
    """Return the newest lines of output, in order."""
    sql = "SELECT n, at, level, text, step FROM logs WHERE run_id = ? ORDER BY n DESC LIMIT ?"
    return [LogRow(*row) for row in connection.execute(sql, (run_id, limit))][::-1]


def trim(connection: sqlite3.Connection, run_id: str) -> None:
    """Forget the oldest output and notes of progress beyond what is kept, and say so in the timeline."""
    last_line = connection.execute(
        """SELECT max(n) FROM (SELECT n, row_number() OVER (ORDER BY n DESC) AS line,
                                   sum(length(text) + ?2) OVER (ORDER BY n DESC) AS size
                               FROM logs WHERE run_id = ?1)
           WHERE line > ?3 OR size > ?4""",
        (run_id, LINE_BYTES, KEPT_LINES, KEPT_LINE_BYTES),
    ).fetchone()[0]
    last_note = connection.execute(
        f"SELECT n FROM events WHERE run_id = ? AND type IN ({NOTES_SQL}) ORDER BY n DESC LIMIT 1 OFFSET ?",
        (run_id, KEPT_NOTES),
    ).fetchone()
    lines = notes = 0
    if last_line is not None:
        lines = connection.execute("DELETE FROM logs WHERE run_id = ? AND n <= ?", (run_id, last_line)).rowcount
    if last_note is not None:
        sql = f"DELETE FROM events WHERE run_id = ? AND type IN ({NOTES_SQL}) AND n <= ?"
        notes = connection.execute(sql, (run_id, last_note["n"])).rowcount
    if lines or notes:
        add_event(connection, run_id, time.time(), "timeline.trimmed", {"lines": lines, "notes": notes})
