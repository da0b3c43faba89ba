"""Rows of events: the log of what was sent, and what each run has been given of it.

An event is given to a wait in the transaction that sends it or that opens the wait, whichever comes later. A run's
position in the log and what it gave back tell what it has not had, at the cost of two look-ups however long the log is.
"""

import json
import sqlite3
from dataclasses import dataclass

from stepwell.model import Json, JsonObject

KEYS_SQL = "SELECT key FROM waits WHERE run_id = ? AND name = ? AND kind = 'event' AND status = 'open'"


@dataclass(frozen=True, slots=True)
class EmittedRow:
    """A row of `emitted`."""

    seq: int
    id: str
    name: str
    run_id: str | None
    payload: Json
    reached: str | None


@dataclass(frozen=True, slots=True)
class Given:
    """An event that a wait of a run was given."""

    key: str
    event_id: str


def put_event(connection: sqlite3.Connection, row: EmittedRow, now: float) -> int:
    """Add an event to the log; return its place, whatever `row.seq` says."""
    added = connection.execute(
        "INSERT INTO emitted (id, name, run_id, payload, at, reached) VALUES (?, ?, ?, ?, ?, ?)",
        (row.id, row.name, row.run_id, json.dumps(row.payload).encode(), now, row.reached),
    )
    return int(added.lastrowid or 0)


def find_event(connection: sqlite3.Connection, event_id: str) -> EmittedRow | None:
    """Return the event of that id."""
    row = connection.execute(
        "SELECT seq, id, name, run_id, payload, reached FROM emitted WHERE id = ?", (event_id,)
    ).fetchone()
    return None if row is None else _read(row)


def give(connection: sqlite3.Connection, run_id: str, name: str, now: float) -> list[Given]:
    """Give a run what it has not had of a name: the oldest event to its longest wait, and so on."""
    # By the journal, not by the clock: the order in which the run asked.
    sql = f"{KEYS_SQL} ORDER BY (SELECT seq FROM journal WHERE run_id = waits.run_id AND journal.key = waits.key), key"
    given: list[Given] = []
    for wait in connection.execute(sql, (run_id, name)).fetchall():
        event = _next(connection, run_id, name)
        if event is None:
            break
        _note_given(connection, run_id, event)
        decision: JsonObject = {"decision": "event", "value": event.payload, "event_id": event.id, "seq": event.seq}
        connection.execute(
            "UPDATE waits SET status = 'decided', decision = ?, decided_at = ? WHERE run_id = ? AND key = ?",
            (json.dumps(decision), now, run_id, wait["key"]),
        )
        given.append(Given(wait["key"], event.id))
    return given


def give_back(connection: sqlite3.Connection, run_id: str, *keys: str) -> None:
    """The run's waits that were given events do not take them: those of these keys, or all."""
    wanted = f"AND key IN ({', '.join('?' * len(keys))})" if keys else ""
    connection.execute(
        f"""INSERT INTO returned_events (run_id, name, seq)
            SELECT run_id, name, json_extract(decision, '$.seq') FROM waits
            WHERE run_id = ? AND kind = 'event' AND status = 'decided'
                AND json_extract(decision, '$.decision') = 'event' {wanted}
            ON CONFLICT DO NOTHING""",
        (run_id, *keys),
    )


def take_back(connection: sqlite3.Connection, run_id: str, key: str) -> None:
    """An event that is in the journal did not reach the workflow, whose wait was cancelled first. Once per wait."""
    changed = connection.execute(
        """UPDATE waits SET status = 'decided' WHERE run_id = ?1 AND key = ?2 AND kind = 'event' AND status = 'taken'
               AND EXISTS (
                   SELECT 1 FROM journal WHERE run_id = ?1 AND key = ?2 AND status = 'ok' AND delivery IS NULL)""",
        (run_id, key),
    )
    if changed.rowcount:
        give_back(connection, run_id, key)
        connection.execute("UPDATE waits SET status = 'void' WHERE run_id = ? AND key = ?", (run_id, key))


def list_waiting_runs(connection: sqlite3.Connection, name: str, after: str, limit: int) -> list[str]:
    """Return runs that wait for an event of that name, by id, after one."""
    sql = """SELECT DISTINCT run_id FROM waits
             WHERE kind = 'event' AND status = 'open' AND name = ? AND run_id > ? ORDER BY run_id LIMIT ?"""
    return [row["run_id"] for row in connection.execute(sql, (name, after, limit))]


def note_reached(connection: sqlite3.Connection, seq: int, run_id: str | None) -> None:
    """Note how far an event is on its way to all that wait; None: it is there."""
    connection.execute("UPDATE emitted SET reached = ? WHERE seq = ?", (run_id, seq))


def list_unfinished(connection: sqlite3.Connection, earliest: float, latest: float) -> list[str]:
    """Return the ids of events that are still on their way, but for those sent between two times."""
    sql = "SELECT id FROM emitted WHERE reached IS NOT NULL AND at NOT BETWEEN ? AND ? ORDER BY seq"
    return [row["id"] for row in connection.execute(sql, (earliest, latest))]


def _next(connection: sqlite3.Connection, run_id: str, name: str) -> EmittedRow | None:
    columns = "seq, id, name, run_id, payload, reached"
    row = connection.execute(
        f"""SELECT {columns} FROM emitted WHERE seq = (
                SELECT r.seq FROM returned_events r JOIN emitted e ON e.seq = r.seq
                WHERE r.run_id = ? AND r.name = ? ORDER BY r.seq LIMIT 1)""",
        (run_id, name),
    ).fetchone()
    if row is None:
        row = connection.execute(
            f"""WITH past (seq) AS (SELECT coalesce(
                    (SELECT seq FROM event_positions WHERE run_id = ?1 AND name = ?2),
                    (SELECT events_after FROM runs WHERE id = ?1)))
                SELECT * FROM (SELECT {columns} FROM emitted
                    WHERE run_id IS NULL AND name = ?2 AND seq > (SELECT seq FROM past) ORDER BY seq LIMIT 1)
                UNION ALL
                SELECT * FROM (SELECT {columns} FROM emitted
                    WHERE run_id = ?1 AND name = ?2 AND seq > (SELECT seq FROM past) ORDER BY seq LIMIT 1)
                ORDER BY seq LIMIT 1""",
            (run_id, name),
        ).fetchone()
    return None if row is None else _read(row)


def _note_given(connection: sqlite3.Connection, run_id: str, event: EmittedRow) -> None:
    connection.execute(
        "DELETE FROM returned_events WHERE run_id = ? AND name = ? AND seq = ?", (run_id, event.name, event.seq)
    )
    connection.execute(
        """INSERT INTO event_positions (run_id, name, seq) VALUES (?, ?, ?)
           ON CONFLICT (run_id, name) DO UPDATE SET seq = max(seq, excluded.seq)""",
        (run_id, event.name, event.seq),
    )


def _read(row: sqlite3.Row) -> EmittedRow:
    return EmittedRow(row["seq"], row["id"], row["name"], row["run_id"], json.loads(row["payload"]), row["reached"])
