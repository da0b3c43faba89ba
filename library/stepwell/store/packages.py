"""SQL on the packages that versions run with. Plain functions for `Database.write` and `Database.read`."""

import json
import sqlite3
from dataclasses import asdict

from stepwell.model.packages import Lock


def put_lock(connection: sqlite3.Connection, version: str, lock: Lock, at: float) -> None:
    """Store which files a version runs with; one that has some keeps them."""
    connection.execute(
        "INSERT INTO version_packages (version, environment, lock, created_at) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (version) DO NOTHING",
        (version, lock.id, json.dumps(asdict(lock)), at),
    )


def count_uses(connection: sqlite3.Connection) -> dict[str, int]:
    """Return how many versions use each environment that one uses."""
    rows = connection.execute("SELECT environment, count(*) AS n FROM version_packages GROUP BY environment")
    return {str(row["environment"]): int(row["n"]) for row in rows}
