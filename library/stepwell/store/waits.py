"""Rows of what runs wait for, and of the decisions on them."""

import json
import sqlite3
from dataclasses import dataclass, field
from typing import Any

from stepwell.model import JsonObject, Wait
from stepwell.store import emitted

EXPIRED: JsonObject = {"decision": "expired"}
MAX_REDIRECT_GATES = 5  # of one call: hosts that it is redirected to and a person is asked about
DROPPED: JsonObject = {"decision": "dropped"}


@dataclass(frozen=True, slots=True)
class WaitRow:
    """A row of `waits`."""

    run_id: str
    key: str
    kind: str
    name: str
    request: JsonObject
    digest: str
    until: float | None
    status: str
    decision: JsonObject | None
    opened_at: float
    decided_at: float | None = None

    def shown(self) -> Wait:
        """Return the form that people and models see."""
        return Wait(
            self.run_id, self.key, self.kind,  # pyright: ignore[reportArgumentType]  checked by the table
            self.request.get("prompt", ""), self.request.get("input_type", ""),
            tuple(self.request.get("options", ())), self.request.get("context"), self.digest, self.until, self.name,
            bool(self.request.get("allow_custom")), bool(self.request.get("skippable")),
            bool(self.request.get("person")),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class NewWait:
    """What a wait starts with."""

    key: str
    kind: str
    name: str
    request: JsonObject = field(default_factory=dict[str, Any])
    digest: str = ""
    until: float | None = None


def open_wait(connection: sqlite3.Connection, run_id: str, wait: NewWait, now: float) -> None:
    """Store a wait; one for the same that is there already stays as it is, with its deadline and its decision."""
    connection.execute(
        """INSERT INTO waits (run_id, key, kind, name, request, digest, until, status, opened_at)
           VALUES (?, ?, ?, ?, ?, ?, ?, 'open', ?)
           ON CONFLICT (run_id, key) DO UPDATE SET status = 'open', until = excluded.until, decision = NULL,
               request = excluded.request, digest = excluded.digest, kind = excluded.kind
           WHERE status IN ('void', 'taken') OR digest != excluded.digest""",
        (run_id, wait.key, wait.kind, wait.name, json.dumps(wait.request), wait.digest, wait.until, now),
    )


def list_waits(connection: sqlite3.Connection, run_id: str, *statuses: str) -> list[WaitRow]:
    """Return the waits of a run in those states, oldest first."""
    marks = ", ".join("?" * len(statuses))
    sql = f"SELECT * FROM waits WHERE run_id = ? AND status IN ({marks}) ORDER BY opened_at, key"
    return [_read(row) for row in connection.execute(sql, (run_id, *statuses))]


def find_wait(connection: sqlite3.Connection, run_id: str, key: str) -> WaitRow | None:
    """Return the wait of that key."""
    row = connection.execute("SELECT * FROM waits WHERE run_id = ? AND key = ?", (run_id, key)).fetchone()
    return None if row is None else _read(row)


def decide_wait(connection: sqlite3.Connection, run_id: str, key: str, decision: JsonObject, now: float) -> bool:
    """Write a decision; False if the wait is no longer open."""
    changed = connection.execute(
        """UPDATE waits SET status = 'decided', decision = ?, decided_at = ?
           WHERE run_id = ? AND key = ? AND status = 'open'""",
        (json.dumps(decision), now, run_id, key),
    )
    return changed.rowcount == 1


def take_wait(connection: sqlite3.Connection, run_id: str, key: str) -> None:
    """The decision has become an entry of the journal; it cannot be used again."""
    connection.execute("UPDATE waits SET status = 'taken' WHERE run_id = ? AND key = ?", (run_id, key))


def void_waits(connection: sqlite3.Connection, run_id: str, key: str) -> None:
    """Close the wait of a call, and the gates before it: its branch was cancelled. What it was given is given back."""
    emitted.give_back(connection, run_id, key)
    redirects = [f"{key}!policy{n}" for n in range(1, MAX_REDIRECT_GATES + 1)]
    connection.execute(
        """UPDATE waits SET status = 'void', decision = ?
           WHERE run_id = ? AND key IN (?, ?, ?, ?, ?, ?, ?, ?) AND status IN ('open', 'decided')""",
        (json.dumps(DROPPED), run_id, key, f"{key}!doubt", f"{key}!policy", *redirects),
    )


def load_waits(connection: sqlite3.Connection, run_id: str) -> tuple[dict[str, WaitRow], set[str]]:
    """Return the waits that a run goes on with, by key, and the keys of those whose branch was cancelled.

    A replay cancels such a branch again, and nobody is asked again.
    """
    sql = "SELECT key FROM waits WHERE run_id = ? AND status = 'void' AND decision = ?"
    dropped = {row["key"] for row in connection.execute(sql, (run_id, json.dumps(DROPPED)))}
    return {row.key: row for row in list_waits(connection, run_id, "open", "decided")}, dropped


def close_waits(connection: sqlite3.Connection, run_id: str) -> None:
    """The run ends, or begins anew: it waits for nothing more.

    What a person was told to be taken stays, for a run that is resumed; events go back.
    """
    emitted.give_back(connection, run_id)
    connection.execute(
        """UPDATE waits SET status = 'void' WHERE run_id = ?
               AND (status = 'open' OR status = 'decided' AND kind NOT IN ('approval', 'input', 'in_doubt'))""",
        (run_id,),
    )
    # A resumed run may take another path, on which a branch is not cancelled.
    connection.execute("UPDATE waits SET decision = NULL WHERE run_id = ? AND status = 'void'", (run_id,))


def expire_wait(connection: sqlite3.Connection, run_id: str, key: str, now: float) -> None:
    """Decide that the deadline of a wait has passed, if nobody has decided before."""
    decide_wait(connection, run_id, key, EXPIRED, now)


def list_decided(connection: sqlite3.Connection, worker: str) -> list[str]:
    """Return the runs held by a worker for which decisions have come."""
    sql = """SELECT DISTINCT run_id FROM waits JOIN runs ON runs.id = waits.run_id
             WHERE waits.status = 'decided' AND runs.owner = ? AND runs.status = 'running'"""
    return [row["run_id"] for row in connection.execute(sql, (worker,))]


def _read(row: sqlite3.Row) -> WaitRow:
    values: dict[str, Any] = dict(row)
    values["request"] = json.loads(values["request"])
    values["decision"] = json.loads(values["decision"]) if values["decision"] else None
    return WaitRow(**values)
