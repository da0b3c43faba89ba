"""What can be deleted: runs that ended long ago, and what nothing refers to any more.

Runs go by whole families: a run that can still be resumed must find the children that it had.
"""

import sqlite3
import time

from stepwell.store import spending, state
from stepwell.store.runs import LIVE_SQL
from stepwell.store.state import Place

ENDS_SQL = "'completed', 'terminated', 'failed', 'rejected', 'cancelled'"  # dead runs wait for somebody
OLD_FAMILY_SQL = f"""SELECT id FROM runs r WHERE status IN ({ENDS_SQL}) AND finished_at < ?1 AND NOT EXISTS (
    SELECT 1 FROM runs f WHERE f.root_id = r.root_id AND (f.status NOT IN ({ENDS_SQL}) OR f.finished_at >= ?1))"""
OLD_EVENTS_SQL = f"""run_id IS NULL AND reached IS NULL AND at < ?1
    AND seq <= (SELECT coalesce(min(events_after), 9e18) FROM runs WHERE status IN ({LIVE_SQL}))"""
UNUSED_VERSIONS_SQL = """created_at < ?1 AND NOT EXISTS (SELECT 1 FROM runs WHERE version = hash)
    AND NOT EXISTS (SELECT 1 FROM pinned WHERE version = hash)
    AND NOT EXISTS (SELECT 1 FROM workflows WHERE version = hash)
    AND NOT EXISTS (SELECT 1 FROM workflow_versions WHERE version = hash)"""
PORTION = 500  # rows in one transaction


def list_old_runs(connection: sqlite3.Connection, before: float, limit: int) -> list[str]:
    """Return runs that ended before a time, with all their family."""
    return [row["id"] for row in connection.execute(f"{OLD_FAMILY_SQL} ORDER BY finished_at LIMIT ?2", (before, limit))]


def count_old_runs(connection: sqlite3.Connection, before: float) -> int:
    """Return how many runs `list_old_runs` would give in all."""
    return int(connection.execute(f"SELECT count(*) FROM ({OLD_FAMILY_SQL})", (before,)).fetchone()[0])


def shorten_run(connection: sqlite3.Connection, run_id: str, before: float) -> bool:
    """Delete some events and lines of a run that is to be deleted; False if none are left, or it is not old."""
    if not _is_old(connection, run_id, before):
        return False
    for table in ("events", "logs"):
        sql = f"DELETE FROM {table} WHERE run_id = ?1 AND n IN (SELECT n FROM {table} WHERE run_id = ?1 LIMIT ?2)"
        if connection.execute(sql, (run_id, 10 * PORTION)).rowcount:
            return True
    return False


def delete_run(connection: sqlite3.Connection, run_id: str, before: float, *, artifacts: bool) -> bool:
    """Delete a run with its journal, waits, events and output; False if it is not old any more."""
    if not _is_old(connection, run_id, before):
        return False
    if artifacts:
        connection.execute("DELETE FROM artifacts WHERE run_id = ?", (run_id,))
    for scope in ("run", "session"):  # a run without a session is its own
        state.clear_values(connection, Place(scope, run_id))
    return connection.execute("DELETE FROM runs WHERE id = ?", (run_id,)).rowcount == 1


def delete_old_events(connection: sqlite3.Connection, before: float) -> int:
    """Delete some events that no live run can take any more; return how many."""
    sql = f"DELETE FROM emitted WHERE seq IN (SELECT seq FROM emitted WHERE {OLD_EVENTS_SQL} ORDER BY seq LIMIT ?2)"
    return connection.execute(sql, (before, PORTION)).rowcount


def delete_hidden(connection: sqlite3.Connection, before: float) -> None:
    """Delete artifacts and workflows that somebody deleted before a time."""
    connection.execute("DELETE FROM artifacts WHERE deleted_at < ?", (before,))
    gone = "SELECT name FROM workflows WHERE deleted_at < ?"
    connection.execute(f"DELETE FROM workflow_versions WHERE name IN ({gone})", (before,))
    connection.execute("DELETE FROM workflows WHERE deleted_at < ?", (before,))
    # The sum of a day is needed until it is over, everywhere.
    spending.forget_old(connection, min(before, time.time() - 2 * 86400))


def delete_unused_versions(connection: sqlite3.Connection, before: float) -> int:
    """Delete some versions that no workflow and no run has; return how many."""
    sql = f"DELETE FROM versions WHERE hash IN (SELECT hash FROM versions WHERE {UNUSED_VERSIONS_SQL} LIMIT ?2)"
    return connection.execute(sql, (before, PORTION)).rowcount


def delete_unused_blobs(connection: sqlite3.Connection, after: str) -> tuple[int, str | None]:
    """Delete what nothing refers to of the next blobs by name; return how many, and the last one looked at."""
    sql = "SELECT hash FROM blobs WHERE hash > ? ORDER BY hash LIMIT ?"
    names = [row["hash"] for row in connection.execute(sql, (after, PORTION))]
    if not names:
        return 0, None
    deleted = connection.execute(
        """DELETE FROM blobs WHERE hash > ?1 AND hash <= ?2
               AND NOT EXISTS (SELECT 1 FROM journal WHERE value_blob = hash)
               AND NOT EXISTS (SELECT 1 FROM artifacts WHERE blob = hash)""",
        (after, names[-1]),
    )
    return deleted.rowcount, names[-1]


def count_free_pages(connection: sqlite3.Connection) -> int:
    """Return how many pages of the file hold nothing."""
    return int(connection.execute("PRAGMA freelist_count").fetchone()[0])


def give_pages_back(connection: sqlite3.Connection, pages: int) -> bool:
    """Take free pages off the end of the file; False if the file was not made for that."""
    if connection.execute("PRAGMA auto_vacuum").fetchone()[0] != 2:
        return False
    connection.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
    return True


def rewrite_file(connection: sqlite3.Connection) -> None:
    """Write the file anew without free pages, so that pages can be given back from now on. Not in a transaction."""
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("VACUUM")


def truncate_log(connection: sqlite3.Connection) -> None:
    """Bring everything into the file, as far as others let us. Not in a transaction."""
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _is_old(connection: sqlite3.Connection, run_id: str, before: float) -> bool:
    return connection.execute(f"{OLD_FAMILY_SQL} AND r.id = ?2", (before, run_id)).fetchone() is not None
