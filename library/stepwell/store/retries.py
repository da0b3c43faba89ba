"""Rows of runs that failed and are tried again by themselves."""

import sqlite3

from stepwell.store import waits


def sleep_until_retry(connection: sqlite3.Connection, run_id: str, error: str | None, wake_at: float) -> None:
    """Let go of a failed run until then, and void what it waited for; a cancel that was asked for is obeyed at once."""
    connection.execute(
        """UPDATE runs SET owner = NULL, error = ?1, failures = failures + 1,
               status = iif(cancel_reason IS NULL, 'sleeping', 'pending'),
               wake_at = iif(cancel_reason IS NULL, ?2, NULL)
           WHERE id = ?3""",
        (error, wake_at, run_id),
    )
    waits.close_waits(connection, run_id)


def count_failure(connection: sqlite3.Connection, run_id: str) -> None:
    """Note that an attempt failed after which there is no other."""
    connection.execute("UPDATE runs SET failures = failures + 1 WHERE id = ?", (run_id,))
