"""The commits of other processes on a store, seen and held back from outside."""

import sqlite3
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

LOOK_S = 0.0003
WAIT_S = 90.0
BUSY_MS = 30_000
STUCK_TICKS = 8  # of 10 ms: no transaction of a worker takes so much work


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

    def change(self, sql: str, *values: Any) -> None:
        """Change rows, as time or another process would."""
        self._connection.execute(sql, values)

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
            time.sleep(0.005)
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

    def wait_stuck(self, *pids: int) -> None:
        """Wait until one of these processes is in such a transaction: it holds the lock, and works in it for long."""
        self._connection.execute("PRAGMA busy_timeout = 0")
        try:
            began: dict[int, int] = {}
            until = time.monotonic() + WAIT_S
            while time.monotonic() < until:
                now = {thread: ticks for pid in pids for thread, ticks in _work(pid)}
                try:
                    self._connection.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError:
                    if any(ticks - began.setdefault(thread, ticks) >= STUCK_TICKS for thread, ticks in now.items()):
                        return
                else:
                    self._connection.execute("ROLLBACK")
                    began = {}
                time.sleep(0.01)
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


def _work(pid: int) -> Iterator[tuple[int, int]]:
    """The threads of a process beside its main one, with the ticks that they have worked."""
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            if task.name != str(pid):
                fields = (task / "stat").read_text().rpartition(")")[2].split()
                yield int(task.name), int(fields[11])
