"""Rows of what people have allowed for more than one call."""

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from stepwell.model import JsonObject


@dataclass(frozen=True, slots=True)
class Grant:
    """A row of `grants`."""

    id: int
    kind: str
    """`tool` or `host`."""
    name: str
    detail: str
    arguments: JsonObject
    scope: str
    """`run`, `workflow` (one version of it) or `always`."""
    run_id: str
    workflow: str
    version: str
    reviewer: str
    via: str
    given_at: float
    revoked_at: float | None = None


def add_grant(connection: sqlite3.Connection, grant: Grant) -> None:
    """Store a grant; its id is given by the store."""
    connection.execute(
        """INSERT INTO grants (kind, name, detail, arguments, scope, run_id, workflow, version, reviewer, via, given_at)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            grant.kind, grant.name, grant.detail, json.dumps(grant.arguments), grant.scope, grant.run_id,
            grant.workflow, grant.version, grant.reviewer, grant.via, grant.given_at,
        ),
    )  # fmt: skip


def find_grant(
    connection: sqlite3.Connection, kind: str, name: str, detail: str, *, run_id: str, workflow: str, version: str
) -> int | None:
    """Return the oldest grant that covers a call of that run, of that version of that workflow."""
    row = connection.execute(
        """SELECT id FROM grants WHERE revoked_at IS NULL AND kind = ? AND name = ? AND detail = ?
               AND (scope = 'always' OR scope = 'workflow' AND workflow = ? AND version = ?
                    OR scope = 'run' AND run_id = ?)
           ORDER BY id LIMIT 1""",
        (kind, name, detail, workflow, version, run_id),
    ).fetchone()
    return None if row is None else row["id"]


def list_grants(connection: sqlite3.Connection) -> list[Grant]:
    """Return the grants that are not revoked, newest first."""
    rows = connection.execute("SELECT * FROM grants WHERE revoked_at IS NULL ORDER BY id DESC")
    return [_read(row) for row in rows]


def revoke_grant(connection: sqlite3.Connection, ident: int, now: float) -> bool:
    """Let a grant cover nothing more; False if there is none of that id, or not any more."""
    sql = "UPDATE grants SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL"
    return connection.execute(sql, (now, ident)).rowcount > 0


def _read(row: sqlite3.Row) -> Grant:
    values: dict[str, Any] = dict(row)
    values["arguments"] = json.loads(values["arguments"])
    return Grant(**values)
