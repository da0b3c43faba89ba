"""Rows of runs: what one starts with, how it stands, how it ends."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from stepwell.model import LIVE, JsonObject, RunStatus
from stepwell.store import waits

COLUMNS = """id, workflow, version, status, input, output, error, reason, parent_id, parent_key, root_id, depth, chain,
    session_id, user_id, idempotency_key, seed, options, owner, epoch, attempts, crashes, wake_at, cancel_reason,
    sandbox_level, work_s, tokens_used, cost_usd, restored, created_at, started_at, finished_at, failures, unwinding,
    cpu_s"""
CODE_NAME = "run_code"  # the workflow of runs of ad hoc code
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


def near_ids(connection: sqlite3.Connection, run_id: str) -> list[str]:
    """Return up to three ids that begin alike, for hints."""
    prefix = run_id[:6]
    # A range of the index: a comparison of beginnings would look at every run.
    sql = "SELECT id FROM runs WHERE id >= ?1 AND id < ?1 || char(0x10ffff) ORDER BY id LIMIT 3"
    return [row["id"] for row in connection.execute(sql, (prefix,))] if prefix else []
