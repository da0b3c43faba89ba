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


def find_artifact(connection: sqlite3.Connection, name: str, run_id: str | None = None) -> Artifact | None:
    """Return the newest artifact of that name, of one run or of any."""
    row = connection.execute(
        """SELECT name, run_id, media_type, description, metadata, size, created_at, data
           FROM artifacts JOIN blobs ON hash = blob
           WHERE name = ?1 AND (?2 IS NULL OR run_id = ?2) AND deleted_at IS NULL ORDER BY id DESC LIMIT 1""",
        (name, run_id),
    ).fetchone()
    return None if row is None else _read(row)


def list_artifacts(connection: sqlite3.Connection, run_id: str | None = None) -> list[Artifact]:
    """Return the newest artifact of every name, without data."""
    rows = connection.execute(
        """SELECT name, run_id, media_type, description, metadata, size, created_at, x'' AS data FROM artifacts
           WHERE id IN (SELECT max(id) FROM artifacts
                        WHERE deleted_at IS NULL AND (?1 IS NULL OR run_id = ?1) GROUP BY name) ORDER BY name""",
        (run_id,),
    )
    return [_read(row) for row in rows]


def delete_artifact(connection: sqlite3.Connection, name: str, now: float) -> bool:
    """Hide all artifacts of that name."""
    sql = "UPDATE artifacts SET deleted_at = ? WHERE name = ? AND deleted_at IS NULL"
    return connection.execute(sql, (now, name)).rowcount > 0


def _read(row: sqlite3.Row) -> Artifact:
    values = dict(row)
    values["metadata"] = json.loads(values["metadata"])
    return Artifact(**values)
