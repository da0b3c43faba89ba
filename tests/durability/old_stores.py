"""Stores as earlier versions of Stepwell left them: the rows of `schema_1.json`, brought to any later schema."""

import json
import sqlite3
from importlib import resources
from pathlib import Path
from typing import Any

from stepwell.store.database import split_statements

ROWS = Path(__file__).with_name("schema_1.json")
RUNS = ("r-ask", "r-approve", "r-nap", "r-event", "r-parent", "r-fails", "r-done", "r-pending", "r-running")
MORE = """
UPDATE runs SET wake_at = 1 WHERE id = 'r-nap';
UPDATE waits SET until = 1 WHERE run_id = 'r-nap';
INSERT INTO workers (id, pid, boot_id, lease_until, started_at) VALUES ('w-1-gone', 1, 'another boot', 1, 1);
INSERT INTO runs (id, workflow, version, status, input, root_id, seed, created_at)
    SELECT 'r-pending', workflow, version, 'pending', input, 'r-pending', seed, created_at FROM runs WHERE id = 'r-done';
INSERT INTO runs (id, workflow, version, status, input, root_id, seed, created_at, owner, epoch, attempts)
    SELECT 'r-running', workflow, version, 'running', input, 'r-running', seed, created_at, 'w-1-gone', 1, 1
    FROM runs WHERE id = 'r-done';
INSERT INTO signals (run_id, id, name, payload, sent_at) VALUES ('r-ask', 's', 'unused', x'31', 1);
"""


def scripts() -> list[str]:
    """The migrations in the order in which they are applied."""
    found = [entry for entry in resources.files("stepwell.store.migrations").iterdir() if entry.name.endswith(".sql")]
    return [entry.read_text() for entry in sorted(found, key=lambda entry: entry.name)]


def make_store(home: Path, schema: int) -> Path:
    """Make a home whose store has that schema, with rows that were written under the first one; return the file."""
    home.mkdir(parents=True, exist_ok=True)
    path = home / "stepwell.db"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    first, *later = scripts()[:schema]
    for statement in split_statements(first):
        connection.execute(statement)
    connection.execute("BEGIN")
    for table, rows in json.loads(ROWS.read_text()).items():
        for row in rows:
            marks = ", ".join("?" * len(row))
            values = [_read(value) for value in row.values()]
            connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", values)
    for statement in split_statements(MORE):
        connection.execute(statement)
    connection.execute("COMMIT")
    for script in later:
        for statement in split_statements(script):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {schema}")
    connection.close()
    return path


def _read(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "fill" in value:
        return b'"' + value["fill"].encode() * value["count"] + b'"'
    return value["bytes"].encode()
