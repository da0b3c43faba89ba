"""Runs that other runs have started and wait for."""

import sqlite3

from stepwell.store.runs import COLUMNS, LIVE_SQL, RunRow, read_row


def find_child(connection: sqlite3.Connection, parent_id: str, key: str) -> RunRow | None:
    """Return the child that a call of its parent started."""
    sql = f"SELECT {COLUMNS} FROM runs WHERE parent_id = ? AND parent_key = ?"
    row = connection.execute(sql, (parent_id, key)).fetchone()
    return None if row is None else read_row(row)


def child_states(connection: sqlite3.Connection, run_id: str) -> dict[str, str]:
    """Return the status of every child that the run waits for."""
    sql = """SELECT id, runs.status FROM runs JOIN waits ON waits.run_id = parent_id AND waits.key = parent_key
             WHERE parent_id = ? AND waits.kind = 'child' AND waits.status = 'open'"""
    return {row["id"]: row["status"] for row in connection.execute(sql, (run_id,))}


def list_children(connection: sqlite3.Connection, run_id: str) -> list[str]:
    """Return the live children of a run, without those that end already and undo what they did."""
    sql = f"SELECT id FROM runs WHERE parent_id = ? AND status IN ({LIVE_SQL}) AND unwinding IS NULL"
    return [row["id"] for row in connection.execute(sql, (run_id,))]


def list_resting_parents(connection: sqlite3.Connection, worker: str) -> list[str]:
    """Return the held runs of a worker that wait for children of which none works now."""
    sql = """SELECT DISTINCT p.id FROM runs p JOIN runs c ON c.parent_id = p.id
             WHERE p.owner = ? AND p.status = 'running' AND c.status NOT IN ('pending', 'running')"""
    return [row["id"] for row in connection.execute(sql, (worker,))]


def part_children(connection: sqlite3.Connection, run_id: str, keys: list[str]) -> None:
    """Make the children of some calls nobody's: the run no longer goes the way that invoked them."""
    connection.executemany(
        "UPDATE runs SET parent_id = NULL, parent_key = NULL WHERE parent_id = ? AND parent_key = ?",
        [(run_id, key) for key in keys],
    )
