"""Rows of artifacts: named values that outlive the run that saved them."""

import json
import sqlite3
from dataclasses import dataclass

from stepwell.model import JsonObject
from stepwell.store.journal import put_blob


@dataclass(frozen=True, slots=True)
class Artifact:
    """A saved value."""

    name: str
    run_id: str
    media_type: str
    """`application/json` (codec JSON), `text/plain`, else bytes: `application/octet-stream`, `image/png`, ..."""
    description: str
    metadata: JsonObject
    size: int
    created_at: float
    data: bytes = b""


def put_artifact(connection: sqlite3.Connection, key: str, artifact: Artifact) -> None:
    """Save; the same call of the same run again changes nothing."""
    connection.execute(
        """INSERT INTO artifacts (name, run_id, key, media_type, description, metadata, blob, size, created_at)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (run_id, key) DO NOTHING""",
        (
            artifact.name, artifact.run_id, key, artifact.media_type, artifact.description,
            json.dumps(artifact.metadata), put_blob(connection, artifact.data), artifact.size, artifact.created_at,
        ),
    )  # fmt: skip


def is_saved(connection: sqlite3.Connection, run_id: str, key: str) -> bool:
    """Return whether a call of a run has saved its artifact."""
    sql = "SELECT 1 FROM artifacts WHERE run_id = ? AND key = ?"
    return connection.execute(sql, (run_id, key)).fetchone() is not None


def used_bytes(connection: sqlite3.Connection, run_id: str | None = None) -> int:
    """Return the bytes of what a run has saved, or all have, and nobody has deleted; each version of a name counts."""
    sql = "SELECT coalesce(sum(size), 0) FROM artifacts WHERE (?1 IS NULL OR run_id = ?1) AND deleted_at IS NULL"
    return int(connection.execute(sql, (run_id,)).fetchone()[0])


def find_artifact(connection: sqlite3.Connection, name: str, run_id: str | None = None) -> Artifact | None:
    """Return the newest artifact of that name, of one run or of any."""
    row = connection.execute(
        """SELECT name, run_id, media_type, description, metadata, size, created_at, data
           FROM artifacts JOIN blobs ON hash = blob
           WHERE name = ?1 AND (?2 IS NULL OR run_id = ?2) AND deleted_at IS NULL ORDER BY id DESC LIMIT 1""",
        (name, run_id),
    ).fetchone()
    return None if row is None else _read(row)


def list_artifacts(connection: sqlite3.Connection, run_id: str | None = None, limit: int = -1) -> list[Artifact]:
    """Return the newest artifact of every name, without data; with a limit those of the names saved last."""
    rows = connection.execute(
        """SELECT name, run_id, media_type, description, metadata, size, created_at, x'' AS data FROM artifacts
           WHERE id IN (SELECT max(id) FROM artifacts
                        WHERE deleted_at IS NULL AND (?1 IS NULL OR run_id = ?1) GROUP BY name
                        ORDER BY max(id) DESC LIMIT ?2) ORDER BY name""",
        (run_id, limit),
    )
    return [_read(row) for row in rows]


def delete_artifact(connection: sqlite3.Connection, name: str, now: float, run_id: str | None = None) -> bool:
    """Delete all artifacts of that name, of one run or of any; their content too where nothing else has it."""
    wanted = "name = ?1 AND (?2 IS NULL OR run_id = ?2) AND deleted_at IS NULL"
    blobs = {row["blob"] for row in connection.execute(f"SELECT blob FROM artifacts WHERE {wanted}", (name, run_id))}
    if not blobs:
        return False
    # The rows stay until they are collected: the call that saved one is known not to save it again.
    sql = f"UPDATE artifacts SET deleted_at = ?3, blob = ?4 WHERE {wanted}"
    connection.execute(sql, (name, run_id, now, put_blob(connection, b"")))
    connection.executemany(
        """DELETE FROM blobs WHERE hash = ?1
               AND NOT EXISTS (SELECT 1 FROM journal WHERE value_blob = ?1)
               AND NOT EXISTS (SELECT 1 FROM artifacts WHERE blob = ?1)""",
        [(blob,) for blob in blobs],
    )
    return True


def _read(row: sqlite3.Row) -> Artifact:
    values = dict(row)
    values["metadata"] = json.loads(values["metadata"])
    return Artifact(**values)
