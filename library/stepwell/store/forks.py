"""Rows for runs that are started again as new ones."""

import json
import re
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from stepwell.store.runs import RunRow


@dataclass(frozen=True, slots=True)
class Outline:
    """One entry of a journal without its values."""

    seq: int
    key: str
    kind: str
    name: str
    delivery: int | None
    opened_at: float | None
    finished_at: float | None


def list_outline(connection: sqlite3.Connection, run_id: str) -> list[Outline]:
    """Return the entries of a journal in order."""
    sql = "SELECT seq, key, kind, name, delivery, opened_at, finished_at FROM journal WHERE run_id = ? ORDER BY seq"
    return [Outline(**dict(row)) for row in connection.execute(sql, (run_id,))]


def list_consents(connection: sqlite3.Connection, run_id: str) -> set[str]:
    """Return the keys at which a person gave or refused a consent."""
    rows = connection.execute("SELECT key, kind, request FROM waits WHERE run_id = ?", (run_id,))
    return {
        row["key"]
        for row in rows
        if row["kind"] == "approval"
        or (row["kind"] == "input" and json.loads(row["request"]).get("input_type") == "approval")
    }


def first_start(connection: sqlite3.Connection, run_id: str, step: str) -> float | None:
    """Return when a step of that name began first, in unix seconds."""
    sql = "SELECT min(at) FROM events WHERE run_id = ? AND type = 'step.started' AND json_extract(data, '$.step') = ?"
    return connection.execute(sql, (run_id, step)).fetchone()[0]


def last_retry(connection: sqlite3.Connection, base: str) -> int:
    """Return the highest n of the runs `<base>-retry-n`, 0 if there are none."""
    prefix = f"{base}-retry-"
    rows = connection.execute("SELECT id FROM runs WHERE id >= ? AND id < ?", (prefix, f"{base}-retry."))
    numbers = [row["id"].removeprefix(prefix) for row in rows]
    return max((int(number) for number in numbers if re.fullmatch(r"[0-9]{1,9}", number)), default=0)


def copy_entries(connection: sqlite3.Connection, source: str, run_id: str, places: Iterable[int]) -> None:
    """Give a run entries of another one's journal, and the artifacts that were saved by them."""
    names = ", ".join(
        row["name"] for row in connection.execute("PRAGMA table_info(journal)") if row["name"] != "run_id"
    )
    connection.executemany(
        f"INSERT INTO journal (run_id, {names}) SELECT ?, {names} FROM journal WHERE run_id = ? AND seq = ?",
        ((run_id, source, place) for place in places),
    )
    saved = "name, key, media_type, description, metadata, blob, size, created_at"
    connection.execute(
        f"""INSERT INTO artifacts (run_id, {saved}) SELECT ?1, {saved} FROM artifacts
            WHERE run_id = ?2 AND deleted_at IS NULL AND key IN (SELECT key FROM journal WHERE run_id = ?1)
            ORDER BY id""",
        (run_id, source),
    )


def pin_versions(connection: sqlite3.Connection, source: RunRow, run_id: str) -> None:
    """Let a run's family invoke the versions of workflows that an earlier run's family has invoked.

    Where that had several of one workflow, it is the one that the run itself had, or the first.
    """
    connection.execute(
        """INSERT OR IGNORE INTO pinned (run_id, workflow, version)
           SELECT ?1, workflow, version FROM runs WHERE root_id = ?2 AND id NOT IN (?2, ?3)
           ORDER BY parent_id IS NOT ?3, depth, created_at""",
        (run_id, source.root_id, source.id),
    )
    connection.execute(
        "INSERT OR IGNORE INTO pinned SELECT ?, workflow, version FROM pinned WHERE run_id = ?",
        (run_id, source.root_id),
    )


def unpin_versions(connection: sqlite3.Connection, run_id: str) -> None:
    """The run goes on with another version, which invokes what is current."""
    connection.execute("DELETE FROM pinned WHERE run_id = ?", (run_id,))


def find_used_version(connection: sqlite3.Connection, parent: RunRow, workflow: str) -> str | None:
    """Return the version of a workflow that a run invoked before, or that its family is bound to."""
    row = connection.execute(
        """SELECT version FROM (SELECT version FROM runs WHERE parent_id = ?1 AND workflow = ?3
                                ORDER BY created_at LIMIT 1)
           UNION ALL SELECT version FROM pinned WHERE run_id = ?2 AND workflow = ?3""",
        (parent.id, parent.root_id, workflow),
    ).fetchone()
    return None if row is None else row["version"]
