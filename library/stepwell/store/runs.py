"""Rows of runs: insert, claim, hold, park, finish, list."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from stepwell.model import LIVE, JsonObject, RunStatus
from stepwell.store import waits

COLUMNS = """id, workflow, version, status, input, output, error, reason, parent_id, parent_key, root_id, depth, chain,
    session_id, user_id, idempotency_key, seed, options, owner, epoch, attempts, crashes, wake_at, cancel_reason,
    sandbox_level, work_s, tokens_used, cost_usd, restored, created_at, started_at, finished_at, failures, unwinding,
    cpu_s"""
CODE_NAME = "run_code"  # the workflow of runs of ad hoc code
PARKED_SQL = "'sleeping', 'waiting', 'in_doubt'"
MAX_COUNTED = 10_000  # of the runs that a list shows a page of: counting a million takes longer than showing it
LIVE_SQL = ", ".join(f"'{status}'" for status in sorted(LIVE))


@dataclass(frozen=True, slots=True)
class RunRow:
    """A row of `runs`, as stored."""

    id: str
    workflow: str
    version: str
    status: RunStatus
    input: bytes
    output: bytes | None
    error: str | None
    reason: str | None
    parent_id: str | None
    parent_key: str | None
    root_id: str
    depth: int
    chain: tuple[str, ...]
    session_id: str | None
    user_id: str | None
    idempotency_key: str | None
    seed: str
    options: JsonObject
    owner: str | None
    epoch: int
    attempts: int
    crashes: int
    wake_at: float | None
    cancel_reason: str | None
    sandbox_level: str | None
    work_s: float
    tokens_used: int
    cost_usd: float | None
    restored: tuple[str, ...]
    created_at: float
    started_at: float | None
    finished_at: float | None
    failures: int
    unwinding: JsonObject | None
    """How the run ends when its steps have been undone: `{status, error, reason}`; stays when it has ended."""
    cpu_s: float

    @property
    def clock_at(self) -> float:
        """Unix seconds at which the body's clock begins; a run that reuses steps has the clock of the earlier one."""
        return float(self.options.get("clock_at", self.created_at))


@dataclass(frozen=True, slots=True)
class NewRun:
    """What a run starts with."""

    id: str
    workflow: str
    version: str
    input: bytes
    """Codec JSON of the arguments object."""
    seed: str
    created_at: float
    parent_id: str | None = None
    parent_key: str | None = None
    root_id: str | None = None
    depth: int = 0
    chain: tuple[str, ...] = ()
    session_id: str | None = None
    user_id: str | None = None
    idempotency_key: str | None = None
    options: JsonObject = field(default_factory=dict[str, Any])


def read_row(row: sqlite3.Row) -> RunRow:
    """Return the typed form of a row selected with `COLUMNS`."""
    values: dict[str, Any] = dict(row)
    values["status"] = RunStatus(values["status"])
    values["chain"] = tuple(json.loads(values["chain"]))
    values["restored"] = tuple(json.loads(values["restored"]))
    values["options"] = json.loads(values["options"])
    values["unwinding"] = json.loads(values["unwinding"]) if values["unwinding"] else None
    return RunRow(**values)


def find_run(connection: sqlite3.Connection, run_id: str) -> RunRow | None:
    """Return the run of that id."""
    row = connection.execute(f"SELECT {COLUMNS} FROM runs WHERE id = ?", (run_id,)).fetchone()
    return None if row is None else read_row(row)


def find_by_idempotency(connection: sqlite3.Connection, workflow: str, key: str) -> RunRow | None:
    """Return the run that was started with that key."""
    sql = f"SELECT {COLUMNS} FROM runs WHERE workflow = ? AND idempotency_key = ?"
    row = connection.execute(sql, (workflow, key)).fetchone()
    return None if row is None else read_row(row)


def insert_run(connection: sqlite3.Connection, run: NewRun) -> None:
    """Store a pending run."""
    connection.execute(
        """INSERT INTO runs (id, workflow, version, status, input, parent_id, parent_key, root_id, depth, chain,
               session_id, user_id, idempotency_key, seed, options, created_at, events_after)
           VALUES (?, ?, ?, 'pending', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
               (SELECT coalesce(max(seq), 0) FROM emitted))""",
        (
            run.id, run.workflow, run.version, run.input, run.parent_id, run.parent_key, run.root_id or run.id,
            run.depth, json.dumps(run.chain), run.session_id, run.user_id, run.idempotency_key, run.seed,
            json.dumps(run.options), run.created_at,
        ),
    )  # fmt: skip


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


def park_run(
    connection: sqlite3.Connection, run_id: str, status: RunStatus, wake_at: float | None, keys: Sequence[str]
) -> None:
    """Let go of a run that only waits, at these keys. A decision that came meanwhile makes it pending at once."""
    connection.execute(
        """UPDATE runs SET owner = NULL, wake_at = ?, status = CASE WHEN cancel_reason IS NOT NULL OR EXISTS (
               SELECT 1 FROM waits WHERE run_id = runs.id AND status = 'decided'
                   AND key IN (SELECT value FROM json_each(?))) THEN 'pending' ELSE ? END
           WHERE id = ?""",
        (wake_at, json.dumps(keys), status, run_id),
    )


def release_run(connection: sqlite3.Connection, run_id: str, now: float) -> None:
    """Let go of a run that could not be worked on; it is tried again a little later each time."""
    connection.execute(
        """UPDATE runs SET status = 'pending', owner = NULL, crashes = crashes + 1, wake_at = ? + (1 << min(crashes, 6))
           WHERE id = ?""",
        (now, run_id),
    )


def list_owned(connection: sqlite3.Connection, worker: str) -> set[str]:
    """Return the running runs of a worker."""
    return {
        row["id"] for row in connection.execute("SELECT id FROM runs WHERE owner = ? AND status = 'running'", (worker,))
    }


def release_lost(connection: sqlite3.Connection, worker: str, run_id: str) -> None:
    """Let go of a run that a worker owns without working on it."""
    connection.execute(
        """UPDATE runs SET status = 'pending', owner = NULL, epoch = epoch + 1
           WHERE id = ? AND owner = ? AND status = 'running'""",
        (run_id, worker),
    )


def wake_run(connection: sqlite3.Connection, run_id: str) -> None:
    """Make a parked run pending: something that it waits for has been decided."""
    connection.execute(
        """UPDATE runs SET status = 'pending', wake_at = NULL
           WHERE id = ? AND status IN ('sleeping', 'waiting', 'in_doubt')""",
        (run_id,),
    )


def reopen_run(connection: sqlite3.Connection, run_id: str) -> bool:
    """Make a failed or cancelled run pending again, with its journal."""
    changed = connection.execute(
        """UPDATE runs SET status = 'pending', error = NULL, reason = NULL, finished_at = NULL, cancel_reason = NULL,
               crashes = 0, failures = 0, work_s = 0, cpu_s = 0, wake_at = NULL
           WHERE id = ? AND status IN ('failed', 'cancelled', 'dead')""",
        (run_id,),
    )
    return changed.rowcount == 1


def finish_run(
    connection: sqlite3.Connection,
    run_id: str,
    status: RunStatus,
    now: float,
    *,
    output: bytes | None = None,
    error: str | None = None,
    reason: str | None = None,
) -> None:
    """End a run; what it still waits for becomes void."""
    connection.execute(
        """UPDATE runs SET status = ?, output = ?, error = ?, reason = ?, owner = NULL, wake_at = NULL, finished_at = ?
           WHERE id = ?""",
        (status, output, error, reason, now, run_id),
    )
    waits.close_waits(connection, run_id)


def unwind_run(connection: sqlite3.Connection, run_id: str, end: JsonObject) -> None:
    """Note how the run will end, when what it did has been undone. A cancel from now on is one of the undoing."""
    connection.execute(
        "UPDATE runs SET unwinding = ?, cancel_reason = NULL, wake_at = NULL WHERE id = ?", (json.dumps(end), run_id)
    )
    connection.execute("UPDATE waits SET status = 'void' WHERE run_id = ? AND status IN ('open', 'decided')", (run_id,))


def set_version(connection: sqlite3.Connection, run_id: str, version: str, options: JsonObject) -> None:
    """Let a run go on with another version."""
    connection.execute("UPDATE runs SET version = ?, options = ? WHERE id = ?", (version, json.dumps(options), run_id))


def set_budget(connection: sqlite3.Connection, run_id: str, budget_usd: float) -> None:
    """Let a run spend so many dollars."""
    connection.execute(
        "UPDATE runs SET options = json_set(options, '$.budget_usd', ?) WHERE id = ?", (budget_usd, run_id)
    )


def part_children(connection: sqlite3.Connection, run_id: str, keys: list[str]) -> None:
    """Make the children of some calls nobody's: the run no longer goes the way that invoked them."""
    connection.executemany(
        "UPDATE runs SET parent_id = NULL, parent_key = NULL WHERE parent_id = ? AND parent_key = ?",
        [(run_id, key) for key in keys],
    )


def note_attempt(connection: sqlite3.Connection, run_id: str, level: str, restored: tuple[str, ...]) -> None:
    """Note what an attempt restores and how it is isolated."""
    connection.execute(
        "UPDATE runs SET sandbox_level = ?, restored = ? WHERE id = ?", (level, json.dumps(restored), run_id)
    )


def clear_crashes(connection: sqlite3.Connection, run_id: str) -> None:
    """The run got somewhere: deaths of holders before this no longer count."""
    connection.execute("UPDATE runs SET crashes = 0 WHERE id = ? AND crashes > 0", (run_id,))


def add_work(connection: sqlite3.Connection, run_id: str, work_s: float, cpu_s: float) -> None:
    """Add seconds of work and of CPU."""
    connection.execute("UPDATE runs SET work_s = work_s + ?, cpu_s = cpu_s + ? WHERE id = ?", (work_s, cpu_s, run_id))


def child_states(connection: sqlite3.Connection, run_id: str) -> dict[str, str]:
    """Return the status of every child that the run waits for."""
    sql = """SELECT id, runs.status FROM runs JOIN waits ON waits.run_id = parent_id AND waits.key = parent_key
             WHERE parent_id = ? AND waits.kind = 'child' AND waits.status = 'open'"""
    return {row["id"]: row["status"] for row in connection.execute(sql, (run_id,))}


def ask_cancel(connection: sqlite3.Connection, run_id: str, reason: str) -> None:
    """Ask the holder of a running run to end it."""
    connection.execute("UPDATE runs SET cancel_reason = ? WHERE id = ? AND status = 'running'", (reason, run_id))


def take_cancel_back(connection: sqlite3.Connection, run_id: str) -> None:
    """A cancel that no holder has obeyed yet is no longer wanted."""
    connection.execute("UPDATE runs SET cancel_reason = NULL WHERE id = ? AND status = 'running'", (run_id,))


def go_on_uncancelled(connection: sqlite3.Connection, run_id: str) -> bool:
    """Let go of a run whose cancel was taken back while its holder obeyed it; False if it was not."""
    sql = """UPDATE runs SET status = 'pending', owner = NULL, wake_at = NULL
             WHERE id = ? AND status = 'running' AND cancel_reason IS NULL AND unwinding IS NULL"""
    return connection.execute(sql, (run_id,)).rowcount == 1


def list_cancelled(connection: sqlite3.Connection, worker: str) -> list[str]:
    """Return the held runs of a worker that shall end."""
    sql = "SELECT id FROM runs WHERE owner = ? AND status = 'running' AND cancel_reason IS NOT NULL"
    return [row["id"] for row in connection.execute(sql, (worker,))]


def find_child(connection: sqlite3.Connection, parent_id: str, key: str) -> RunRow | None:
    """Return the child that a call of its parent started."""
    sql = f"SELECT {COLUMNS} FROM runs WHERE parent_id = ? AND parent_key = ?"
    row = connection.execute(sql, (parent_id, key)).fetchone()
    return None if row is None else read_row(row)


def list_resting_parents(connection: sqlite3.Connection, worker: str) -> list[str]:
    """Return the held runs of a worker that wait for children of which none works now."""
    sql = """SELECT DISTINCT p.id FROM runs p JOIN runs c ON c.parent_id = p.id
             WHERE p.owner = ? AND p.status = 'running' AND c.status NOT IN ('pending', 'running')"""
    return [row["id"] for row in connection.execute(sql, (worker,))]


def list_children(connection: sqlite3.Connection, run_id: str) -> list[str]:
    """Return the live children of a run, without those that end already and undo what they did."""
    sql = f"SELECT id FROM runs WHERE parent_id = ? AND status IN ({LIVE_SQL}) AND unwinding IS NULL"
    return [row["id"] for row in connection.execute(sql, (run_id,))]


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


def near_ids(connection: sqlite3.Connection, run_id: str) -> list[str]:
    """Return up to three ids that begin alike, for hints."""
    prefix = run_id[:6]
    # A range of the index: a comparison of beginnings would look at every run.
    sql = "SELECT id FROM runs WHERE id >= ?1 AND id < ?1 || char(0x10ffff) ORDER BY id LIMIT 3"
    return [row["id"] for row in connection.execute(sql, (prefix,))] if prefix else []


def _where(wanted: Filter) -> tuple[list[str], list[Any]]:
    given = {name: value for name, value in asdict(wanted).items() if value is not None}
    return [f"{name} = ?" for name in given], list(given.values())
