"""SQL on workflows, their versions and their search text. Plain functions for `Database.write` and `Database.read`."""

import json
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec

from stepwell.model import Version, Workflow
from stepwell.model.usage import Usage
from stepwell.store.packages import put_lock
from stepwell.store.search_text import Text, drop_text, put_text
from stepwell.store.search_vectors import add_pending, drop_vectors
from stepwell.store.usage import forget_usage, list_usage

_WORKFLOW = "id, name, version, description, tags, intents, origin, pinned, created_at, deleted_at"
Only = Literal["pinned", "used", "unused", "failing"]
_USED = "(SELECT 1 FROM workflow_usage WHERE workflow = name)"
_ONLY: dict[Only, str] = {
    "pinned": "AND pinned",
    "used": f"AND EXISTS {_USED}",
    "unused": f"AND NOT EXISTS {_USED}",
    # The newest run that ended has failed.
    "failing": "AND EXISTS (SELECT 1 FROM workflow_usage WHERE workflow = name"
    " AND json_extract(recent, '$[#-1][0]') = 0)",
}
_HASH_PREFIX = re.compile(r"[0-9a-f]{6,64}")
_VERSION_SQL = (
    "SELECT hash, source, analysis, lock FROM versions"
    " LEFT JOIN version_packages ON version_packages.version = versions.hash WHERE hash"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of `workflows`, deleted ones included."""

    id: int
    name: str
    version: str
    description: str
    tags: tuple[str, ...]
    intents: tuple[str, ...]
    origin: str
    pinned: bool
    created_at: float
    deleted: bool


def find_row(connection: sqlite3.Connection, name: str) -> Row | None:
    """Return the row of a name, deleted or not."""
    row = connection.execute(f"SELECT {_WORKFLOW} FROM workflows WHERE name = ?", (name,)).fetchone()
    return None if row is None else _row(row)


def find_workflow(connection: sqlite3.Connection, name: str) -> Workflow | None:
    """Return a workflow with its current version; None also for a deleted one."""
    row = find_row(connection, name)
    return None if row is None or row.deleted else _workflows(connection, [row])[0]


def find_at_version(connection: sqlite3.Connection, name: str, prefix: str) -> tuple[Workflow | None, list[str]]:
    """Return a workflow as it was at the version whose hash starts with `prefix`, and all hashes that do."""
    row = find_row(connection, name)
    if row is None or row.deleted or not _HASH_PREFIX.fullmatch(prefix):
        return None, []
    rows = connection.execute(
        "SELECT version, description, created_at FROM workflow_versions"
        " WHERE name = ? AND substr(version, 1, ?) = ? ORDER BY ordinal DESC",
        (name, len(prefix), prefix),
    ).fetchall()
    hashes = list(dict.fromkeys(str(found["version"]) for found in rows))
    if len(hashes) != 1:
        return None, hashes
    newest = rows[0]
    at_version = replace(
        row, version=newest["version"], description=newest["description"], created_at=newest["created_at"]
    )
    return _workflows(connection, [at_version])[0], hashes


def find_version(connection: sqlite3.Connection, version: str) -> Version | None:
    """Return a version by its full hash; it stays also when its workflow is deleted."""
    row = connection.execute(f"{_VERSION_SQL} = ?", (version,)).fetchone()
    if row is None:
        return None
    owner = connection.execute(
        "SELECT name FROM workflow_versions WHERE version = ? ORDER BY created_at DESC LIMIT 1", (version,)
    ).fetchone()
    return _version(row, str(owner["name"]) if owner else None)


def list_workflows(
    connection: sqlite3.Connection, limit: int, after: str, tag: str | None, only: Only | None = None
) -> tuple[list[Workflow], int]:
    """Return up to `limit` workflows by name, those after `after`, and how many there are in all."""
    tagged = "AND EXISTS (SELECT 1 FROM json_each(tags) WHERE value = :tag)" if tag is not None else ""
    where = f"deleted_at IS NULL {tagged} {_ONLY[only] if only else ''}"
    values = {"tag": tag, "after": after, "limit": limit}
    total = connection.execute(f"SELECT count(*) FROM workflows WHERE {where}", values).fetchone()[0]
    rows = connection.execute(
        f"SELECT {_WORKFLOW} FROM workflows WHERE {where} AND name > :after ORDER BY name LIMIT :limit",
        values,
    ).fetchall()
    return _workflows(connection, list(map(_row, rows))), int(total)


def list_pinned(connection: sqlite3.Connection) -> list[Workflow]:
    """Return the pinned workflows by name."""
    rows = connection.execute(
        f"SELECT {_WORKFLOW} FROM workflows WHERE pinned AND deleted_at IS NULL ORDER BY name"
    ).fetchall()
    return _workflows(connection, list(map(_row, rows)))


def list_names(connection: sqlite3.Connection, origin_prefix: str = "") -> list[tuple[str, str]]:
    """Return `(name, origin)` of the workflows whose origin starts with `origin_prefix`, by name."""
    rows = connection.execute(
        "SELECT name, origin FROM workflows WHERE deleted_at IS NULL AND origin >= ? AND origin < ? ORDER BY name",
        (origin_prefix, f"{origin_prefix}\U0010ffff"),
    ).fetchall()
    return [(row["name"], row["origin"]) for row in rows]


def list_some(connection: sqlite3.Connection, limit: int) -> list[str]:
    """Return the first names."""
    rows = connection.execute("SELECT name FROM workflows WHERE deleted_at IS NULL ORDER BY name LIMIT ?", (limit,))
    return [str(row["name"]) for row in rows]


def list_twins(connection: sqlite3.Connection, version: str) -> list[str]:
    """Return the names of the workflows whose current version is this one."""
    rows = connection.execute("SELECT name FROM workflows WHERE version = ? AND deleted_at IS NULL", (version,))
    return [str(row["name"]) for row in rows]


def put_version(connection: sqlite3.Connection, version: Version, at: float) -> None:
    """Store a version; one that is stored already stays as it is, and gets its packages if it has none yet."""
    analysis = msgspec.to_builtins(version)
    del analysis["hash"], analysis["source"], analysis["lock"]
    connection.execute(
        "INSERT INTO versions (hash, source, analysis, created_at) VALUES (?, ?, ?, ?) ON CONFLICT (hash) DO NOTHING",
        (version.hash, version.source, json.dumps(analysis), at),
    )
    if version.lock is not None:
        put_lock(connection, version.hash, version.lock, at)


def renew_version(connection: sqlite3.Connection, version: Version, at: float) -> None:
    """Store a version that a run is about to need; it counts as new again, so that it is not deleted before."""
    put_version(connection, version, at)
    connection.execute("UPDATE versions SET created_at = ? WHERE hash = ?", (at, version.hash))


def put_workflow(connection: sqlite3.Connection, workflow: Workflow, text: Text) -> Workflow:
    """Store a workflow: a new name, a new version of an existing one, or a deleted one anew."""
    before = find_row(connection, workflow.name)
    version = workflow.version
    put_version(connection, version, workflow.created_at)
    values: dict[str, Any] = {
        "name": workflow.name,
        "version": version.hash,
        "description": workflow.description,
        "tags": json.dumps(workflow.tags),
        "intents": json.dumps(workflow.intents),
        "origin": workflow.origin,
        "pinned": before is not None and not before.deleted and before.pinned,
        "created_at": workflow.created_at,
    }
    row = connection.execute(
        "INSERT INTO workflows (name, version, description, tags, intents, origin, pinned, created_at)"
        " VALUES (:name, :version, :description, :tags, :intents, :origin, :pinned, :created_at)"
        " ON CONFLICT (name) DO UPDATE SET version = :version, description = :description, tags = :tags,"
        " intents = :intents, origin = :origin, pinned = :pinned, created_at = :created_at, deleted_at = NULL"
        " RETURNING id",
        values,
    ).fetchone()
    if before is None or before.deleted or before.version != version.hash:
        connection.execute(
            "INSERT INTO workflow_versions (name, ordinal, version, description, created_at)"
            " SELECT :name, coalesce(max(ordinal), 0) + 1, :version, :description, :created_at"
            " FROM workflow_versions WHERE name = :name",
            values,
        )
    put_text(connection, int(row["id"]), text)
    add_pending(connection, int(row["id"]))
    stored = find_row(connection, workflow.name)
    assert stored is not None
    return _workflows(connection, [stored])[0]


def delete_workflow(connection: sqlite3.Connection, name: str, at: float) -> bool:
    """Hide a workflow; its versions stay for the runs that are pinned to them. Return False if there is none."""
    row = connection.execute(
        "UPDATE workflows SET deleted_at = ?, pinned = 0 WHERE name = ? AND deleted_at IS NULL RETURNING id", (at, name)
    ).fetchone()
    if row is None:
        return False
    drop_text(connection, int(row["id"]))
    drop_vectors(connection, int(row["id"]))
    forget_usage(connection, name)
    return True


def pin_workflow(connection: sqlite3.Connection, name: str, *, pinned: bool) -> bool:
    """Set or clear the pin. Return False if there is no such workflow."""
    changed = connection.execute(
        "UPDATE workflows SET pinned = ? WHERE name = ? AND deleted_at IS NULL", (pinned, name)
    )
    return changed.rowcount == 1


def find_named(connection: sqlite3.Connection, squeezed: str) -> list[int]:
    """Return the ids of the workflows with this name, without its case and underscores."""
    rows = connection.execute(
        "SELECT id FROM workflows WHERE lower(replace(name, '_', '')) = ? AND deleted_at IS NULL ORDER BY id LIMIT 5",
        (squeezed,),
    )
    return [int(row["id"]) for row in rows]


def load_workflows(connection: sqlite3.Connection, ids: Sequence[int]) -> dict[int, Workflow]:
    """Return the workflows of these ids."""
    rows = connection.execute(f"SELECT {_WORKFLOW} FROM workflows WHERE id IN ({_marks(ids)})", tuple(ids)).fetchall()
    return dict(zip((int(row["id"]) for row in rows), _workflows(connection, list(map(_row, rows))), strict=True))


def _row(row: sqlite3.Row) -> Row:
    return Row(
        id=row["id"],
        name=row["name"],
        version=row["version"],
        description=row["description"],
        tags=tuple(json.loads(row["tags"])),
        intents=tuple(json.loads(row["intents"])),
        origin=row["origin"],
        pinned=bool(row["pinned"]),
        created_at=row["created_at"],
        deleted=row["deleted_at"] is not None,
    )


def _workflows(connection: sqlite3.Connection, rows: Sequence[Row]) -> list[Workflow]:
    """Return the workflows of rows, with a few queries for all."""
    names, hashes = [row.name for row in rows], list({row.version for row in rows})
    versions = connection.execute(f"{_VERSION_SQL} IN ({_marks(hashes)})", hashes)
    version_of = {found["hash"]: found for found in versions}
    history: dict[str, dict[str, None]] = {name: {} for name in names}
    for found in connection.execute(
        f"SELECT name, version FROM workflow_versions WHERE name IN ({_marks(names)}) ORDER BY name, ordinal DESC",
        names,
    ):
        history[found["name"]][found["version"]] = None
    usage = list_usage(connection, names)
    return [
        Workflow(
            name=row.name,
            description=row.description,
            tags=row.tags,
            intents=row.intents,
            version=_version(version_of[row.version], row.name),
            created_at=row.created_at,
            origin=row.origin,
            pinned=row.pinned,
            versions=tuple(history[row.name]),
            usage=usage.get(row.name, Usage()),
        )
        for row in rows
    ]


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _version(row: sqlite3.Row, name: str | None) -> Version:
    lock = None if row["lock"] is None else json.loads(row["lock"])
    analysis: dict[str, Any] = json.loads(row["analysis"]) | {
        "hash": row["hash"],
        "source": row["source"],
        "lock": lock,
    }
    if name is not None:
        # A source stored under two names is one version; the signature shows the name it is asked for by.
        analysis["signature"] = name + analysis["signature"][analysis["signature"].index("(") :]
    return msgspec.convert(analysis, Version)
