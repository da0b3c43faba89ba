"""What a run has come to so far, forgotten: it begins anew under its own id."""

import sqlite3


def forget_progress(connection: sqlite3.Connection, run_id: str) -> None:
    """Forget journal, waits and taken events; artifacts stay, and saving them again makes newer ones."""
    for table in ("journal", "waits", "event_positions", "returned_events"):
        connection.execute(f"DELETE FROM {table} WHERE run_id = ?", (run_id,))
    connection.execute("UPDATE artifacts SET key = key || '!' || id WHERE run_id = ?", (run_id,))
