"""Who works on a run: workers claim pending ones, hold them with an epoch, and let go of them."""

import sqlite3

from stepwell.store.runs import COLUMNS, RunRow, read_row

PARKED_SQL = "'sleeping', 'waiting', 'in_doubt'"


def claim_run(connection: sqlite3.Connection, run_id: str, worker: str, now: float) -> RunRow | None:
    """Take a pending run with a new epoch; None if another process was faster."""
    row = connection.execute(
        f"""UPDATE runs SET status = 'running', owner = ?, epoch = epoch + 1, attempts = attempts + 1, wake_at = NULL,
                error = NULL, started_at = coalesce(started_at, ?)
            WHERE id = ? AND status = 'pending' RETURNING {COLUMNS}""",
        (worker, now, run_id),
    ).fetchone()
    return None if row is None else read_row(row)


def list_claimable(connection: sqlite3.Connection, now: float, limit: int) -> list[tuple[str, str]]:
    """Return ids and versions of runs that may be taken, first come first served.

    As many that are due become pending first.
    """
    connection.execute(
        f"""UPDATE runs SET status = 'pending', wake_at = NULL WHERE id IN (
                SELECT id FROM runs INDEXED BY runs_wake
                WHERE wake_at <= ? AND status IN ({PARKED_SQL}) ORDER BY wake_at LIMIT ?)""",
        (now, limit),
    )
    sql = """SELECT id, version FROM runs INDEXED BY runs_claimable
             WHERE status = 'pending' AND (wake_at IS NULL OR wake_at <= ?) ORDER BY created_at LIMIT ?"""
    return [(row["id"], row["version"]) for row in connection.execute(sql, (now, limit))]


def has_claimable(connection: sqlite3.Connection, now: float) -> bool:
    """Whether `list_claimable` would find something, without writing."""
    # The indexes by name: left to itself SQLite goes through all runs that wait.
    sql = f"""SELECT EXISTS (SELECT 1 FROM runs INDEXED BY runs_claimable
                             WHERE status = 'pending' AND (wake_at IS NULL OR wake_at <= ?1))
                  OR EXISTS (SELECT 1 FROM runs INDEXED BY runs_wake
                             WHERE wake_at <= ?1 AND status IN ({PARKED_SQL}))"""
    return bool(connection.execute(sql, (now,)).fetchone()[0])


def next_wake(connection: sqlite3.Connection) -> float | None:
    """Return when the next sleeping run is due, in unix seconds."""
    return connection.execute("SELECT min(wake_at) FROM runs WHERE wake_at IS NOT NULL").fetchone()[0]


def holds(connection: sqlite3.Connection, run_id: str, worker: str, epoch: int) -> bool:
    """Whether `worker` still holds the run with that epoch."""
    sql = "SELECT 1 FROM runs WHERE id = ? AND owner = ? AND epoch = ? AND status = 'running'"
    return connection.execute(sql, (run_id, worker, epoch)).fetchone() is not None


def list_owned(connection: sqlite3.Connection, worker: str) -> set[str]:
    """Return the running runs of a worker."""
    return {
        row["id"] for row in connection.execute("SELECT id FROM runs WHERE owner = ? AND status = 'running'", (worker,))
    }


def release_run(connection: sqlite3.Connection, run_id: str, now: float) -> None:
    """Let go of a run that could not be worked on; it is tried again a little later each time."""
    connection.execute(
        """UPDATE runs SET status = 'pending', owner = NULL, crashes = crashes + 1, wake_at = ? + (1 << min(crashes, 6))
           WHERE id = ?""",
        (now, run_id),
    )


def release_lost(connection: sqlite3.Connection, worker: str, run_id: str) -> None:
    """Let go of a run that a worker owns without working on it."""
    connection.execute(
        """UPDATE runs SET status = 'pending', owner = NULL, epoch = epoch + 1
           WHERE id = ? AND owner = ? AND status = 'running'""",
        (run_id, worker),
    )
