"""Rows of the journal, and the large values that they point at."""

import hashlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace

from stepwell.store.rows import insert_rows

READINGS = "readings"  # the kind of entries that are no calls: what a running attempt has read of the real world
VALUE_SQL = "coalesce(value, data)"
SHOWN_BYTES = 256 * 1024  # of one value in a list
RESULTS_BYTES = 32 * 1024 * 1024  # of the results of all steps together
BLOB_BYTES = 64 * 1024  # larger values are stored once, by content


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of `journal`."""

    seq: int
    key: str
    kind: str
    name: str
    digest: str
    status: str
    step: str = ""
    attempt: int = 0
    args: bytes | None = None
    value: bytes | None = None
    error: str | None = None
    delivery: int | None = None
    opened_at: float | None = None
    finished_at: float | None = None
    undo: bool = False
    """For a step: whether it can be undone."""

    @property
    def label(self) -> str:
        """What was called, as the guest compares it on replay."""
        return f"{self.kind}:{self.name}:{self.digest}"

    def settled(self, status: str, *, value: bytes | None, error: str | None, at: float) -> "Entry":
        """Return the entry with its outcome."""
        return replace(self, status=status, value=value, error=error, finished_at=at)


def put_entries(connection: sqlite3.Connection, run_id: str, entries: Sequence[Entry]) -> None:
    """Insert entries, each in place of the one that has its place in the journal."""
    insert_rows(
        connection,
        """INSERT INTO journal (run_id, seq, key, kind, name, digest, step, attempt, status, args, value, value_blob,
               error, delivery, opened_at, finished_at, undo)""",
        [
            (
                run_id, entry.seq, entry.key, entry.kind, entry.name, entry.digest, entry.step, entry.attempt,
                entry.status, entry.args, *_store(connection, entry.value), entry.error, entry.delivery,
                entry.opened_at, entry.finished_at, entry.undo,
            )
            for entry in entries
        ],
        """ON CONFLICT (run_id, seq) DO UPDATE SET status = excluded.status, value = excluded.value,
               value_blob = excluded.value_blob, error = excluded.error, finished_at = excluded.finished_at,
               attempt = excluded.attempt, delivery = coalesce(excluded.delivery, delivery)""",
    )  # fmt: skip


def put_deliveries(connection: sqlite3.Connection, run_id: str, deliveries: Sequence[tuple[int, int]]) -> None:
    """Note for each (seq, n) that the outcome of the entry was the `n`-th delivered."""
    connection.executemany(
        "UPDATE journal SET delivery = ? WHERE run_id = ? AND seq = ?", [(n, run_id, seq) for seq, n in deliveries]
    )


def list_entries(connection: sqlite3.Connection, run_id: str) -> list[Entry]:
    """Return all entries in the order in which the host learned of them."""
    return _list(connection, "run_id = ? ORDER BY seq", (run_id,), args="args", value=VALUE_SQL)


def list_calls(connection: sqlite3.Connection, run_id: str, after: int, limit: int) -> list[Entry]:
    """Return entries to show, without readings: what a workflow keeps secret may follow from their seed."""
    which = "run_id = ? AND kind != ? AND seq > ? ORDER BY seq LIMIT ?"
    return _list(connection, which, (run_id, READINGS, after, limit), args=_cut("args"), value=_cut(VALUE_SQL))


def _list(
    connection: sqlite3.Connection, which: str, parameters: tuple[str | int, ...], *, args: str, value: str
) -> list[Entry]:
    rows = connection.execute(
        f"""SELECT seq, key, kind, name, digest, status, step, attempt, {args} AS args, {value} AS value, error,
                delivery, opened_at, finished_at, undo
            FROM journal LEFT JOIN blobs ON hash = value_blob WHERE {which}""",
        parameters,
    )
    return [Entry(*row) for row in rows]


def list_results(connection: sqlite3.Connection, run_id: str) -> list[tuple[str, bytes | None]]:
    """Return (name, value) of the steps that succeeded, in their order; what is too much in all is cut."""
    rows = connection.execute(
        """SELECT name, coalesce(value, data) FROM journal LEFT JOIN blobs ON hash = value_blob
           WHERE run_id = ? AND kind = 'step' AND status = 'ok' AND key NOT GLOB '!*' ORDER BY seq""",
        (run_id,),
    )
    found: list[tuple[str, bytes | None]] = []
    left = RESULTS_BYTES
    for name, value in rows:
        left -= len(value or b"")
        found.append((name, value if left >= 0 or value is None else b'{"cut":true,"bytes":%d}' % len(value)))
    return found


def read_value(connection: sqlite3.Connection, run_id: str, seq: int) -> bytes | None:
    """Return the value at a place in a journal."""
    row = connection.execute(
        """SELECT coalesce(value, data) AS value FROM journal LEFT JOIN blobs ON hash = value_blob
           WHERE run_id = ? AND seq = ?""",
        (run_id, seq),
    ).fetchone()
    return None if row is None else row["value"]


def list_turns(connection: sqlite3.Connection, run_id: str) -> list[tuple[str, tuple[str, int]]]:
    """Return digest and place of the models' turns of a run and its family, in their order."""
    rows = connection.execute(
        """SELECT j.digest AS digest, j.run_id AS run_id, j.seq AS seq FROM journal j JOIN runs r ON r.id = j.run_id
           WHERE j.kind = 'turn' AND j.status = 'ok'
               AND r.root_id = (SELECT root_id FROM runs WHERE id = ?) ORDER BY r.created_at, j.seq""",
        (run_id,),
    )
    return [(row["digest"], (row["run_id"], row["seq"])) for row in rows]


def has_undo(connection: sqlite3.Connection, run_id: str) -> bool:
    """Whether the run has completed steps that can be undone and are not."""
    sql = """SELECT EXISTS (SELECT 1 FROM journal s WHERE run_id = ?1 AND undo AND status = 'ok' AND key NOT GLOB '!*'
             AND NOT EXISTS (SELECT 1 FROM journal WHERE run_id = ?1 AND key = s.key || '!undo/undo'))"""
    return bool(connection.execute(sql, (run_id,)).fetchone()[0])


def cut_entries(connection: sqlite3.Connection, run_id: str, cut: int, seqs: list[int]) -> None:
    """Take entries out of what is replayed; they stay in the journal under `!cutN/` and their key."""
    connection.executemany(
        "UPDATE journal SET key = ? || key, delivery = NULL WHERE run_id = ? AND seq = ?",
        [(f"!cut{cut}/", run_id, seq) for seq in seqs],
    )


def find_key(connection: sqlite3.Connection, run_id: str, key: str) -> Entry | None:
    """Return the entry of a key, without arguments and value."""
    row = connection.execute(
        """SELECT seq, key, kind, name, digest, status, step, attempt, error, delivery, opened_at, finished_at
           FROM journal WHERE run_id = ? AND key = ?""",
        (run_id, key),
    ).fetchone()
    return None if row is None else Entry(**dict(row))


def list_steps(connection: sqlite3.Connection, run_id: str, *, after: int = 0, limit: int = -1) -> list[Entry]:
    """Return the steps of a run, and their attempts that were tried again or taken back."""
    which = "run_id = ? AND kind = 'step' AND seq > ? ORDER BY seq LIMIT ?"
    return _list(connection, which, (run_id, after, limit), args="NULL", value=_cut(VALUE_SQL))


def _cut(column: str) -> str:
    """Return SQL for a value to show: of one that is very long only its size."""
    size = f"length({column})"
    return f"""CASE WHEN {size} > {SHOWN_BYTES} THEN CAST(printf('{{"cut":true,"bytes":%d}}', {size}) AS BLOB)
               ELSE {column} END"""


def drop_entries(connection: sqlite3.Connection, run_id: str, seqs: list[int]) -> None:
    """Forget calls, so that a resumed run makes them anew."""
    connection.executemany("DELETE FROM journal WHERE run_id = ? AND seq = ?", [(run_id, seq) for seq in seqs])


def set_aside(connection: sqlite3.Connection, run_id: str, entry: Entry) -> None:
    """Turn a step's failed result into one of its attempts: a resumed run goes on with the next one."""
    connection.execute(
        "UPDATE journal SET key = ?, delivery = NULL WHERE run_id = ? AND seq = ?",
        (f"{entry.key}@{entry.attempt}", run_id, entry.seq),
    )
    # Attempts with the status `retry` count against the step's limit; these have had theirs.
    connection.execute(
        "UPDATE journal SET status = 'error' WHERE run_id = ? AND status = 'retry' AND substr(key, 1, ?) = ?",
        (run_id, len(entry.key) + 1, f"{entry.key}@"),
    )


def doubt_open(connection: sqlite3.Connection, run_id: str) -> None:
    """Note that calls which were sent and not answered when their run ended are in doubt."""
    connection.execute(
        "UPDATE journal SET status = 'in_doubt' WHERE run_id = ? AND kind = 'tool' AND status = 'open'", (run_id,)
    )


def doubt_again(connection: sqlite3.Connection, run_id: str, seq: int) -> None:
    """Let a call that was given up be decided on again, since nobody knows whether it had its effect."""
    connection.execute(
        "UPDATE journal SET status = 'in_doubt', error = NULL, delivery = NULL WHERE run_id = ? AND seq = ?",
        (run_id, seq),
    )


def drop_deliveries(connection: sqlite3.Connection, run_id: str, first: int) -> None:
    """Forget the order of deliveries from a place on: the run takes another path there."""
    connection.execute("UPDATE journal SET delivery = NULL WHERE run_id = ? AND delivery >= ?", (run_id, first))


def _store(connection: sqlite3.Connection, value: bytes | None) -> tuple[bytes | None, str | None]:
    if value is None or len(value) <= BLOB_BYTES:
        return value, None
    return None, put_blob(connection, value)


def put_blob(connection: sqlite3.Connection, data: bytes) -> str:
    """Store bytes by content and return their name."""
    name = hashlib.sha256(data).hexdigest()
    connection.execute("INSERT INTO blobs (hash, data) VALUES (?, ?) ON CONFLICT DO NOTHING", (name, data))
    return name
