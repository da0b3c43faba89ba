"""The commits of other processes on a store, seen and held back from outside."""

import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

LOOK_S = 0.0003
WAIT_S = 30.0
BUSY_MS = 30_000
STUCK_MS = 300  # no transaction of a worker takes so long


class Commits:
    """A connection of the test's own to the store of a home."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._seen = self._version()

    def read(self, sql: str, *values: Any) -> list[Any]:
        """Return the rows of a query."""
        return self._connection.execute(sql, values).fetchall()

    def apply(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Return what a function of the store finds."""
        return fn(self._connection)

    def wait_next(self, unless: Callable[[], bool] = lambda: False) -> bool:
        """Wait for the next commit; False if `unless` came to hold without one."""
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            if (version := self._version()) != self._seen:
                self._seen = version
                return True
            if unless():
                return False
            time.sleep(LOOK_S)
        raise AssertionError("nothing was committed")

    def wait_for(self, sql: str, *values: Any) -> Any:
        """Wait until a query finds a row, and return it."""
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            if rows := self.read(sql, *values):
                return rows[0]
            time.sleep(LOOK_S)
        raise AssertionError(f"nothing came of {sql}")

    @contextmanager
    def held(self) -> Generator[None, None, None]:
        """Hold the write lock: nobody else's next transaction begins."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")

    @contextmanager
    def stuck(self, operation: str, when: str = "1") -> Generator[None, None, None]:
        """Let no transaction with such a write end: `operation` as in `UPDATE OF owner ON runs`, `when` over NEW and OLD.

        Whoever comes to it stays in it until killed, as if it had died just before that commit.
        """
        endless = "WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"
        self._connection.execute(f"CREATE TRIGGER stuck BEFORE {operation} WHEN {when} BEGIN {endless}; END")
        try:
            yield
        finally:
            self._connection.execute("DROP TRIGGER stuck")

    def wait_stuck(self) -> None:
        """Wait until somebody is in a transaction that does not end."""
        self._connection.execute(f"PRAGMA busy_timeout = {STUCK_MS}")
        try:
            until = time.monotonic() + WAIT_S
            while time.monotonic() < until:
                try:
                    self._connection.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError:
                    return
                self._connection.execute("ROLLBACK")
                time.sleep(0.02)
            raise AssertionError("nobody came to that write")
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])


@contextmanager
def watching(home: Path) -> Generator[Commits, None, None]:
    """Open the store of a home, which must be there."""
    with closing(sqlite3.connect(home / "stepwell.db", isolation_level=None, timeout=BUSY_MS / 1000)) as connection:
        connection.row_factory = sqlite3.Row
        yield Commits(connection)
