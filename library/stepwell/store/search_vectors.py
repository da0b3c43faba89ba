"""SQL on models, vectors and what waits for them."""

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

_FORGOTTEN = 500  # rows deleted in one transaction


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One model with vectors in the store."""

    key: str
    name: str
    dimensions: int
    state: Literal["serving", "filling"]


def list_models(connection: sqlite3.Connection) -> dict[str, ModelRow]:
    """Return the models by their state."""
    rows = connection.execute("SELECT key, name, dimensions, state FROM search_models")
    return {row["state"]: ModelRow(row["key"], row["name"], row["dimensions"], row["state"]) for row in rows}


def want_model(connection: sqlite3.Connection, key: str, name: str, dimensions: int, at: float) -> None:
    """Make a model the one that is to serve: at once if there is no other, else when it has all vectors."""
    known = list_models(connection)
    serving, filling = known.get("serving"), known.get("filling")
    if filling is not None and filling.key != key:
        connection.execute("DELETE FROM search_models WHERE key = ?", (filling.key,))
        filling = None
    if filling is not None or (serving is not None and serving.key == key):
        return
    state = "serving" if serving is None else "filling"
    connection.execute("INSERT INTO search_models VALUES (?, ?, ?, ?, ?)", (key, name, dimensions, state, at))
    connection.execute(
        "INSERT INTO search_pending (workflow_id) SELECT id FROM workflows WHERE deleted_at IS NULL"
        " ON CONFLICT DO NOTHING"
    )


def switch_model(connection: sqlite3.Connection) -> bool:
    """Let the model that has been filling serve, if nothing waits for it any more."""
    if "filling" not in list_models(connection) or count_pending(connection):
        return False
    connection.execute("DELETE FROM search_models WHERE state = 'serving'")
    connection.execute("UPDATE search_models SET state = 'serving' WHERE state = 'filling'")
    return True


def find_forgotten(connection: sqlite3.Connection) -> tuple[str, str] | None:
    """Return a table and a model that is gone and has vectors there, if there is one."""
    known = {row.key for row in list_models(connection).values()}
    for table in ("search_vectors", "search_cache"):
        for edge in ("min", "max"):  # each is one step in an index; whatever lies between comes to an edge
            model = connection.execute(f"SELECT {edge}(model) FROM {table}").fetchone()[0]
            if model is not None and model not in known:
                return table, model
    return None


def any_workflow(connection: sqlite3.Connection) -> bool:
    """Say whether there is a workflow."""
    found = connection.execute("SELECT EXISTS (SELECT 1 FROM workflows WHERE deleted_at IS NULL)").fetchone()
    return bool(found[0])


def forget_vectors(connection: sqlite3.Connection) -> None:
    """Delete some of what `find_forgotten` finds."""
    if (found := find_forgotten(connection)) is not None:
        table, model = found
        connection.execute(
            f"DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE model = ? LIMIT ?)",
            (model, _FORGOTTEN),
        )


def add_pending(connection: sqlite3.Connection, workflow_id: int, *, words: bool = False) -> None:
    """Note that a workflow's vector may be out of date, with `words` its full text, too."""
    connection.execute(
        "INSERT INTO search_pending (workflow_id, words) VALUES (?, ?)"
        " ON CONFLICT (workflow_id) DO UPDATE SET words = max(words, excluded.words)",
        (workflow_id, words),
    )


def count_pending(connection: sqlite3.Connection) -> int:
    """Return how many workflows wait."""
    return int(connection.execute("SELECT count(*) FROM search_pending").fetchone()[0])


def list_pending(connection: sqlite3.Connection, limit: int, *, words_only: bool = False) -> dict[int, bool]:
    """Return ids of workflows that wait, newest first, and whether their full text does."""
    where = "WHERE words" if words_only else ""
    rows = connection.execute(
        f"SELECT workflow_id, words FROM search_pending {where} ORDER BY workflow_id DESC LIMIT ?", (limit,)
    )
    return {int(row["workflow_id"]): bool(row["words"]) for row in rows}


def settle_pending(connection: sqlite3.Connection, workflow_id: int, *, words_only: bool = False) -> None:
    """Note that a workflow does not wait any more, with `words_only` not for its full text."""
    if words_only:
        connection.execute("UPDATE search_pending SET words = 0 WHERE workflow_id = ?", (workflow_id,))
    else:
        connection.execute("DELETE FROM search_pending WHERE workflow_id = ?", (workflow_id,))


def stamps(connection: sqlite3.Connection, ids: Collection[int]) -> dict[int, tuple[str, ...]]:
    """Return what a workflow's texts follow from, to see whether it has changed meanwhile."""
    rows = connection.execute(
        "SELECT id, name, version, description, intents,"
        " (SELECT json_group_array(request) FROM learned_requests WHERE workflow = name) AS learned"
        f" FROM workflows WHERE deleted_at IS NULL AND id IN ({_marks(ids)})",
        tuple(ids),
    )
    return {int(row["id"]): tuple(str(value) for value in row) for row in rows}


def digests(connection: sqlite3.Connection, model: str, ids: Collection[int]) -> dict[int, bytes]:
    """Return of which texts the workflows have vectors."""
    rows = connection.execute(
        f"SELECT workflow_id, digest FROM search_vectors WHERE model = ? AND workflow_id IN ({_marks(ids)})",
        (model, *ids),
    )
    return {int(row["workflow_id"]): bytes(row["digest"]) for row in rows}


def put_vector(connection: sqlite3.Connection, model: str, workflow_id: int, digest: bytes, vector: bytes) -> None:
    """Store a workflow's vector under a new number."""
    connection.execute(
        "INSERT OR REPLACE INTO search_vectors (model, workflow_id, digest, vector) VALUES (?, ?, ?, ?)",
        (model, workflow_id, digest, vector),
    )


def drop_vectors(connection: sqlite3.Connection, workflow_id: int) -> None:
    """Note that a workflow is gone, for all who have its vectors in memory."""
    connection.execute(
        "INSERT OR REPLACE INTO search_vectors (model, workflow_id, digest, vector)"
        " SELECT key, ?, x'', NULL FROM search_models",
        (workflow_id,),
    )
    connection.execute("DELETE FROM search_pending WHERE workflow_id = ?", (workflow_id,))


def list_vectors(
    connection: sqlite3.Connection, model: str, after: int, limit: int
) -> list[tuple[int, int, bytes | None]]:
    """Return number, workflow and vector of what has changed since a number, in order."""
    rows = connection.execute(
        "SELECT seq, workflow_id, vector FROM search_vectors WHERE model = ? AND seq > ? ORDER BY seq LIMIT ?",
        (model, after, limit),
    )
    return [(row[0], row[1], row[2]) for row in rows]


def find_cached(connection: sqlite3.Connection, model: str, wanted: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return the vectors of texts by their digests."""
    found: dict[bytes, bytes] = {}
    for start in range(0, len(wanted), _FORGOTTEN):
        part = wanted[start : start + _FORGOTTEN]
        rows = connection.execute(
            f"SELECT digest, vector FROM search_cache WHERE model = ? AND digest IN ({_marks(part)})", (model, *part)
        )
        found |= {bytes(row[0]): bytes(row[1]) for row in rows}
    return found


def put_cached(connection: sqlite3.Connection, model: str, vectors: Iterable[tuple[bytes, bytes]]) -> None:
    """Keep the vectors of texts under their digests."""
    connection.executemany(
        "INSERT INTO search_cache (model, digest, vector) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        [(model, digest, vector) for digest, vector in vectors],
    )


def _marks(values: Collection[object]) -> str:
    return ", ".join("?" * len(values))
