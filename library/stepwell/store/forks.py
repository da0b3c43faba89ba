"""Rows for runs that are started again as new ones."""

import json
import re
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass


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
