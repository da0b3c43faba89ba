"""Many rows with few statements.

SQLite runs a statement without the interpreter's lock, and takes it again after each. With a statement for each row
the thread that writes asks for the lock thousands of times in a second, each time behind an event loop that is busy.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any

CHUNK = 64  # rows of one statement


def insert_rows(
    connection: sqlite3.Connection, into: str, rows: Sequence[tuple[Any, ...]], otherwise: str = ""
) -> None:
    """Insert rows of equal width; `into` is `INSERT INTO table (columns)`, `otherwise` stands behind the values."""
    if not rows:
        return
    one = f"({', '.join('?' * len(rows[0]))})"
    whole = len(rows) - len(rows) % CHUNK
    many = f"{into} VALUES {', '.join([one] * CHUNK)} {otherwise}"
    for at in range(0, whole, CHUNK):
        connection.execute(many, [value for row in rows[at : at + CHUNK] for value in row])
    connection.executemany(f"{into} VALUES {one} {otherwise}", rows[whole:])
