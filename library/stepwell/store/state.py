"""Rows of state: values that workflows keep for a run, a session or a user."""

import sqlite3
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Whose values."""

    scope: str
    """`run`, `session` or `user`."""
    owner: str


def find_value(connection: sqlite3.Connection, place: Place, key: str) -> bytes | None:
    """Return the value of a key, as codec JSON."""
    sql = "SELECT value FROM state WHERE scope = ? AND owner = ? AND key = ?"
    row = connection.execute(sql, (place.scope, place.owner, key)).fetchone()
    return None if row is None else row["value"]


def put_value(connection: sqlite3.Connection, place: Place, key: str, value: bytes, now: float) -> None:
    """Store a value; the last one wins."""
    connection.execute(
        """INSERT INTO state (scope, owner, key, value, updated_at) VALUES (?, ?, ?, ?, ?)
           ON CONFLICT (scope, owner, key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at""",
        (place.scope, place.owner, key, value, now),
    )


def delete_value(connection: sqlite3.Connection, place: Place, key: str) -> None:
    """Forget a key."""
    sql = "DELETE FROM state WHERE scope = ? AND owner = ? AND key = ?"
    connection.execute(sql, (place.scope, place.owner, key))


def clear_values(connection: sqlite3.Connection, place: Place) -> None:
    """Forget all keys."""
    connection.execute("DELETE FROM state WHERE scope = ? AND owner = ?", (place.scope, place.owner))


def list_keys(connection: sqlite3.Connection, place: Place) -> list[str]:
    """Return the keys in their order."""
    sql = "SELECT key FROM state WHERE scope = ? AND owner = ? ORDER BY key"
    return [row["key"] for row in connection.execute(sql, (place.scope, place.owner))]


def count_keys(connection: sqlite3.Connection, place: Place) -> int:
    """Return how many keys there are."""
    sql = "SELECT count(*) FROM state WHERE scope = ? AND owner = ?"
    return int(connection.execute(sql, (place.scope, place.owner)).fetchone()[0])
