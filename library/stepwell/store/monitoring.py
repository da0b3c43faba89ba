"""Figures about runs."""

import sqlite3


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
