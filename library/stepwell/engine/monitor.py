"""What an operator looks at: runs in lists, the steps of one, workers, how many runs stand how."""

import re
import sqlite3
import time
from dataclasses import dataclass
from typing import Any

import msgspec

from stepwell.engine.border import show
from stepwell.engine.lease import boot_id
from stepwell.engine.pages import read_cursor, write_cursor
from stepwell.engine.queueing import why_queued
from stepwell.engine.view import list_shown_waits, read_error
from stepwell.errors import InvalidArguments
from stepwell.model import ErrorInfo, Json, JsonObject, RunStatus, Wait
from stepwell.store import journal, monitoring, workers
from stepwell.store.journal import Entry
from stepwell.store.runs import RunRow

HIDDEN = "!"  # before keys of entries that are no part of the run any more
ATTEMPT = re.compile(r"(.+)@([0-9]+)")


@dataclass(frozen=True, slots=True)
class RunItem:
    """A run in a list: without input, output and results, which may be large."""

    id: str
    workflow: str
    version: str
    status: RunStatus
    created_at: float
    updated_at: float
    """Unix seconds of its last event."""
    started_at: float | None
    finished_at: float | None
    error: ErrorInfo | None
    waiting_for: tuple[Wait, ...]
    steps_completed: int
    attempts: int
    failures: int
    session_id: str | None
    parent_id: str | None
    queued: str | None
    """What a pending run waits for, in words."""


@dataclass(frozen=True, slots=True)
class RunPage:
    """Some runs, newest first."""

    items: tuple[RunItem, ...]
    next_cursor: str | None
    total: int
    """How many there are, counted up to `monitoring.MAX_COUNTED`."""


@dataclass(frozen=True, slots=True)
class StepItem:
    """One step of a run, all its attempts together."""

    seq: int
    """Its place in the journal; the next page begins after it."""
    name: str
    key: str
    status: str
    """`completed`, `failed`, or `retrying`: it has failed and another attempt is due."""
    attempts: int
    result: Json
    error: JsonObject | None
    """`{type, message}` of the newest failed attempt."""
    started_at: float | None
    """Unix seconds, of the first attempt."""
    finished_at: float | None
    seconds: float | None
    """From the first attempt's start to the newest one's end, delays included."""


@dataclass(frozen=True, slots=True)
class WorkerItem:
    """One process that executes runs."""

    id: str
    pid: int
    alive: bool
    """Whether its lease holds."""
    started_at: float
    runs: int
    """How many it works on now."""
    memory_bytes: int
    """What those runs count with."""
    memory_budget: int | None
    """What they may count with; None for no bound but the machine's."""
    queue: str
    """What pending runs wait for there: `memory`, `slots`, or nothing."""


def list_page(connection: sqlite3.Connection, wanted: monitoring.Filter, *, limit: int, cursor: str | None) -> RunPage:
    """Return a page of runs.

    Raises:
        InvalidArguments: no such status, or a cursor that is none.
    """
    if wanted.status is not None and wanted.status not in list(RunStatus):
        raise InvalidArguments(f"there is no status {wanted.status[:40]!r}", hint=f"One of: {', '.join(RunStatus)}.")
    before = None if cursor is None else read_cursor(cursor)
    rows = monitoring.list_runs(connection, wanted, before=before, limit=limit + 1)
    items = tuple(_item(connection, row) for row in rows[:limit])
    more = write_cursor(items[-1].created_at, items[-1].id) if len(rows) > limit else None
    return RunPage(items, more, monitoring.count_runs(connection, wanted))


def _item(connection: sqlite3.Connection, row: RunRow) -> RunItem:
    return RunItem(
        row.id, row.workflow, row.version, row.status, row.created_at,
        monitoring.last_event_at(connection, row.id) or row.created_at, row.started_at, row.finished_at,
        read_error(row), list_shown_waits(connection, row), monitoring.count_steps(connection, row.id),
        row.attempts, row.failures, row.session_id, row.parent_id, why_queued(connection, row),
    )  # fmt: skip


def list_steps(connection: sqlite3.Connection, run_id: str, *, after: int, limit: int) -> list[StepItem]:
    """Return steps in the order in which they ended or failed last."""
    found: list[StepItem] = []
    while len(found) < limit:
        entries = journal.list_steps(connection, run_id, after=after, limit=limit)
        for entry in entries:
            after = entry.seq
            if (item := _step(connection, run_id, entry)) is not None and len(found) < limit:
                found.append(item)
        if len(entries) < limit:
            break
    return found


def _step(connection: sqlite3.Connection, run_id: str, entry: Entry) -> StepItem | None:
    """Return the step of a final entry, or of the newest attempt of one that has none yet."""
    if entry.key.startswith(HIDDEN):
        return None
    match = ATTEMPT.fullmatch(entry.key)
    key = match[1] if match else entry.key
    if match and (journal.find_key(connection, run_id, key) or _is_retried(connection, run_id, entry, key)):
        return None
    first = journal.find_key(connection, run_id, f"{key}@1") or entry
    error: dict[str, Any] | None = None if entry.error is None else msgspec.json.decode(entry.error)
    status = "retrying" if match else "completed" if entry.status == "ok" else "failed"
    seconds = None
    if entry.finished_at is not None and first.opened_at is not None:
        seconds = round(max(0.0, entry.finished_at - first.opened_at), 6)
    return StepItem(
        entry.seq, entry.name, key, status, entry.attempt, show(entry.value).value,
        None if error is None else {"type": error["type"], "message": error["message"]},
        first.opened_at, entry.finished_at, seconds,
    )  # fmt: skip


def _is_retried(connection: sqlite3.Connection, run_id: str, entry: Entry, key: str) -> bool:
    return journal.find_key(connection, run_id, f"{key}@{entry.attempt + 1}") is not None


def list_workers(connection: sqlite3.Connection) -> list[WorkerItem]:
    """Return the workers that have not left, oldest first."""
    boot, now = boot_id(), time.monotonic()
    return [
        WorkerItem(
            row.id,
            row.pid,
            row.boot_id == boot and row.lease_until > now,
            row.started_at,
            row.runs,
            row.info.get("memory_bytes", 0),
            row.info.get("memory_budget"),
            row.info.get("queue", ""),
        )
        for row in workers.list_all(connection)
    ]
