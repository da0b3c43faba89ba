"""Processes that execute runs, and the runs of those that are gone.

One lease for a process, not one for each run: a heartbeat is one small write, however many runs it holds. The
runs themselves are fenced by their epochs.
"""

import json
import sqlite3
from dataclasses import dataclass

from stepwell.model import JsonObject
from stepwell.store import timeline

MAX_CRASHES = 5  # holders that may die with a run, without progress between, before it is set aside


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A row of `workers`, and how many runs it holds."""

    id: str
    pid: int
    boot_id: str
    lease_until: float
    """Monotonic seconds of that boot."""
    started_at: float
    info: JsonObject
    """How full it is, and what pending runs wait for there."""
    runs: int


def beat(
    connection: sqlite3.Connection, worker: str, pid: int, boot_id: str, until: float, now: float, info: JsonObject
) -> None:
    """Renew a worker's lease, or enter it. `until` is on the boot's monotonic clock; `info` says how full it is."""
    connection.execute(
        """INSERT INTO workers (id, pid, boot_id, lease_until, started_at, info) VALUES (?, ?, ?, ?, ?, ?)
           ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until, info = excluded.info""",
        (worker, pid, boot_id, until, now, json.dumps(info)),
    )


def leave(connection: sqlite3.Connection, worker: str) -> None:
    """Take a worker out at a clean end and hand its runs over."""
    connection.execute(
        "UPDATE runs SET status = 'pending', owner = NULL WHERE owner = ? AND status = 'running'", (worker,)
    )
    connection.execute("DELETE FROM workers WHERE id = ?", (worker,))


def list_workers(connection: sqlite3.Connection, boot_id: str, monotonic: float) -> list[str]:
    """Return the ids of workers whose lease has not run out."""
    sql = "SELECT id FROM workers WHERE boot_id = ? AND lease_until > ?"
    return [row["id"] for row in connection.execute(sql, (boot_id, monotonic))]


def list_all(connection: sqlite3.Connection) -> list[WorkerRow]:
    """Return all workers that have not left, oldest first."""
    sql = """SELECT id, pid, boot_id, lease_until, started_at, info,
                 (SELECT count(*) FROM runs WHERE owner = workers.id AND status = 'running') AS runs
             FROM workers ORDER BY started_at, id"""
    return [WorkerRow(**dict(row) | {"info": json.loads(row["info"])}) for row in connection.execute(sql)]


def list_fullness(connection: sqlite3.Connection, boot_id: str, monotonic: float) -> list[JsonObject]:
    """Return how full the workers are whose lease has not run out."""
    sql = "SELECT info FROM workers WHERE boot_id = ? AND lease_until > ?"
    return [json.loads(row["info"]) for row in connection.execute(sql, (boot_id, monotonic))]


def list_expired(connection: sqlite3.Connection, boot_id: str, monotonic: float) -> list[str]:
    """Return workers whose lease has run out, and owners of runs that are no workers at all."""
    sql = """SELECT id FROM workers WHERE boot_id != ?1 OR lease_until <= ?2
             UNION SELECT DISTINCT owner FROM runs WHERE status = 'running' AND owner NOT IN (SELECT id FROM workers)"""
    return [row["id"] for row in connection.execute(sql, (boot_id, monotonic))]


def bury(connection: sqlite3.Connection, worker: str, now: float) -> tuple[list[str], list[str]]:
    """Take a dead worker out; return its runs: those pending again, and those that have outlived too many workers."""
    rows = connection.execute(
        """UPDATE runs SET owner = NULL, epoch = epoch + 1, crashes = crashes + 1, status = 'pending'
           WHERE owner = ? AND status = 'running' RETURNING id, crashes""",
        (worker,),
    ).fetchall()
    connection.execute("DELETE FROM workers WHERE id = ?", (worker,))
    for row in rows:
        timeline.add_event(connection, row["id"], now, "lease.lost", {"worker": worker})
    poisoned = [row["id"] for row in rows if row["crashes"] >= MAX_CRASHES]
    return [row["id"] for row in rows if row["id"] not in poisoned], poisoned
