"""What is shown of runs: lists of them, and figures."""

import sqlite3
from dataclasses import asdict, dataclass
from typing import Any

from stepwell.store.runs import COLUMNS, RunRow, read_row

MAX_COUNTED = 10_000  # of the runs that a list shows a page of: counting a million takes longer than showing it


def count_steps(connection: sqlite3.Connection, run_id: str) -> int:
    """Return how many steps of a run have completed."""
    sql = "SELECT count(*) FROM journal WHERE run_id = ? AND kind = 'step' AND status = 'ok' AND key NOT GLOB '!*'"
    return int(connection.execute(sql, (run_id,)).fetchone()[0])


def last_event_at(connection: sqlite3.Connection, run_id: str) -> float | None:
    """Return when something happened to the run last, in unix seconds."""
    row = connection.execute("SELECT at FROM events WHERE run_id = ? ORDER BY n DESC LIMIT 1", (run_id,)).fetchone()
    return None if row is None else row["at"]


def count_statuses(connection: sqlite3.Connection) -> dict[str, int]:
    """Return how many runs there are of every status that one has."""
    rows = connection.execute("SELECT status, count(*) AS n FROM runs GROUP BY status ORDER BY status")
    return {row["status"]: row["n"] for row in rows}


@dataclass(frozen=True, slots=True)
class Filter:
    """Which runs are listed; None is any."""

    status: str | None = None
    workflow: str | None = None
    session_id: str | None = None
    parent_id: str | None = None


def list_runs(
    connection: sqlite3.Connection, wanted: Filter, *, before: tuple[float, str] | None, limit: int
) -> list[RunRow]:
    """Return runs, newest first, older than `before` (created_at, id)."""
    where, values = _where(wanted)
    if before is not None:
        where.append("(created_at, id) < (?, ?)")
        values += before
    clause = f"WHERE {' AND '.join(where)}" if where else ""
    sql = f"SELECT {COLUMNS} FROM runs {clause} ORDER BY created_at DESC, id DESC LIMIT ?"
    return [read_row(row) for row in connection.execute(sql, (*values, limit))]


def count_runs(connection: sqlite3.Connection, wanted: Filter) -> int:
    """Return how many runs match, at most `MAX_COUNTED`."""
    where, values = _where(wanted)
    clause = f"WHERE {' AND '.join(where)}" if where else ""
    sql = f"SELECT count(*) FROM (SELECT 1 FROM runs {clause} LIMIT {MAX_COUNTED})"
    return int(connection.execute(sql, values).fetchone()[0])


def _where(wanted: Filter) -> tuple[list[str], list[Any]]:
    given = {name: value for name, value in asdict(wanted).items() if value is not None}
    return [f"{name} = ?" for name in given], list(given.values())
