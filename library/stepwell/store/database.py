"""The SQLite file: one connection that writes, one that reads, each on a thread of its own.

All SQL runs as plain functions on a `sqlite3.Connection`, one thread hop for a whole transaction: the write
lock is never held across a turn of the event loop, so a busy or stopped loop cannot block other processes. Functions
that wait for the same connection share a hop and a transaction (`together`).
"""

import asyncio
import functools
import os
import shutil
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import TypeVar

import aiosqlite

from stepwell.errors import StoreError
from stepwell.store.together import Outcome, Together, Work, attempt, in_time

T = TypeVar("T")

BUSY_TIMEOUT_MS = 10_000
LOG_BYTES = 4 * 1024 * 1024  # at the start of a process that executes runs
ROOM_BYTES = 16 * LOG_BYTES  # with less free, what is left of the disk is not for speed
WAL_AUTOCHECKPOINT_PAGES = 4000  # 16 MiB at 4 KiB pages; a checkpoint costs an fsync of the main file


class _Connection(aiosqlite.Connection):
    """An aiosqlite connection that can run a function in its thread."""

    def run(self, fn: Callable[[sqlite3.Connection], T]) -> "asyncio.Future[T]":
        # As `_execute`, without a task of its own for each.
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._running and self._connection is not None:
            self._tx.put_nowait((done, functools.partial(fn, self._connection)))
        else:
            done.set_exception(ValueError("Connection closed"))
        return done


class Database:
    """One open store. Make it with `open_database`."""

    def __init__(self, path: Path, writer: _Connection, reader: _Connection) -> None:
        self.path = path
        self._writer = writer
        self._reader = reader
        self._writes = Together(writer.run, _transact)
        self._reads = Together(reader.run, _look)

    async def write(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run `fn` in an immediate transaction and return its value once that is durable.

        Others that wait for it may write in the same one: all of them get what they wrote, or none.

        Raises:
            StoreError: the database stayed locked, is full or cannot be written. Errors of `fn` roll back what it did.
        """
        return await self._guarded(self._writes.do(fn))

    async def read(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run `fn` on one snapshot of the database."""
        return await self._guarded(self._reads.do(fn))

    async def run(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        """Run `fn` on the connection that writes, in no transaction.

        Raises:
            StoreError: as `write`.
        """
        # Shielded: a cancelled caller must not leave work behind whose outcome nobody reads.
        return await self._guarded(asyncio.shield(asyncio.ensure_future(self._writer.run(fn))))

    def size(self) -> int:
        """Return the bytes of the file with what has been written and is not in it yet."""
        files = (self.path, self.path.with_name(f"{self.path.name}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    async def grow_log(self) -> None:
        """Make the write-ahead log as large as it soon will be.

        A commit that writes over bytes of the file takes a fraction of the time of one that makes the file longer.
        """

        def grow(_: sqlite3.Connection) -> None:
            # No process writes to the log meanwhile: this one has the lock. What follows its last frame is not read.
            with suppress(OSError), open(f"{self.path}-wal", "r+b") as log:
                missing = LOG_BYTES - log.seek(0, os.SEEK_END)
                if missing > 0 and shutil.disk_usage(self.path.parent).free > ROOM_BYTES:
                    log.write(bytes(missing))
                    log.flush()
                    os.fsync(log.fileno())

        with suppress(StoreError):  # it is as well without
            await self.write(grow)

    async def data_version(self) -> int:
        """Return a number that changes when anybody has committed, here or elsewhere."""
        return await self._guarded(self._reader.run(_data_version))

    async def foreign_version(self) -> int:
        """Return a number that changes when another process has committed."""
        # A connection's own commits do not count, and this process writes by one only.
        return await self._guarded(self._writer.run(_data_version))

    async def _guarded(self, work: Awaitable[T]) -> T:
        try:
            return await work
        except sqlite3.OperationalError as error:
            raise unusable(self.path, error) from error


def _transact(connection: sqlite3.Connection, works: Sequence[Work]) -> list[Outcome]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if len(works) == 1:
            outcomes: list[Outcome] = [(works[0](connection), None)]
        else:
            outcomes = [_apart(work, connection) for work in in_time(works)]
        connection.execute("COMMIT")
    except BaseException:
        _roll_back(connection)
        raise
    return outcomes


def _apart(work: Work, connection: sqlite3.Connection) -> Outcome:
    """Do one work of several: its error takes back what it did, and not what the others did."""
    connection.execute("SAVEPOINT work")
    outcome = attempt(work, connection)
    if outcome[1] is not None:
        if not connection.in_transaction:
            raise outcome[1]  # the disk's, which has taken back the writes of all
        connection.execute("ROLLBACK TO work")
    connection.execute("RELEASE work")
    return outcome


def _look(connection: sqlite3.Connection, works: Sequence[Work]) -> list[Outcome]:
    connection.execute("BEGIN")
    try:
        return [attempt(work, connection) for work in in_time(works)]
    finally:
        _roll_back(connection)


def _data_version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def unusable(path: Path, error: sqlite3.OperationalError) -> StoreError:
    """Return what is said of a store that could not be read or written."""
    return StoreError(
        f"the store {path} could not be used: {error}",
        hint="Check that the disk has room and that no other program holds the file.",
    )


@asynccontextmanager
async def open_database(path: Path) -> AsyncGenerator[Database, None]:
    """Open the file, make it if absent, bring its schema up to date.

    Raises:
        StoreError: it is no database, or was written by a newer Stepwell.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    async with _connect(path) as writer, _connect(path) as reader:
        try:
            await writer.run(_migrate)
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{path} cannot be opened: {error}", hint="Move it away to start anew.") from error
        yield Database(path, writer, reader)


@asynccontextmanager
async def _connect(path: Path) -> AsyncGenerator[_Connection, None]:
    def connector() -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        return connection

    connection = _Connection(connector, iter_chunk_size=64)
    async with connection:
        try:
            await connection.run(_configure)
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{path} cannot be opened: {error}", hint="Move it away to start anew.") from error
        yield connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """Return a connection that cannot write, for a thread of the caller's."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA query_only = ON")
    return connection


def _configure(connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # counts only before the file's first page is written
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_AUTOCHECKPOINT_PAGES}")


def _roll_back(connection: sqlite3.Connection) -> None:
    # A full disk and errors of input and output have ended the transaction already.
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _migrate(connection: sqlite3.Connection) -> None:
    scripts = sorted(
        (entry for entry in resources.files("stepwell.store.migrations").iterdir() if entry.name.endswith(".sql")),
        key=lambda entry: entry.name,
    )
    while True:
        connection.execute("BEGIN IMMEDIATE")  # another process may be migrating the same file
        try:
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            if version > len(scripts):
                raise StoreError(
                    f"the store has schema {version}, this Stepwell knows up to {len(scripts)}",
                    hint="Upgrade Stepwell, or use another home.",
                )
            if version == len(scripts):
                connection.execute("ROLLBACK")
                return
            for statement in split_statements(scripts[version].read_text()):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            _roll_back(connection)
            raise


def split_statements(script: str) -> list[str]:
    """Return the statements of a script; `executescript()` would commit the transaction it runs in."""
    statements: list[str] = []
    pending = ""
    for line in script.splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements
