"""Rows of calls that wait for their turn, or have it: the limits of tools over all processes of a home."""

import sqlite3
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lane:
    """What one limit counts."""

    name: str
    concurrency: int | None
    """Calls at one time."""
    calls: int | None
    """Calls that begin in `span_s` seconds."""
    span_s: float


@dataclass(frozen=True, slots=True)
class Place:
    """A call of one process."""

    owner: str
    """`workers.id`; with it the call's rows go."""
    number: int


def take_turn(connection: sqlite3.Connection, lane: Lane, call: Place, now: float) -> float | None:
    """Begin the call if it is its turn, and return 0; else line it up, and return as `turn_in`."""
    if _find(connection, lane, call) is None:
        if connection.execute("SELECT 1 FROM workers WHERE id = ?", (call.owner,)).fetchone() is None:
            return None  # taken for dead while it was stopped; it enters itself again soon
        connection.execute(
            """INSERT INTO call_turns (lane, place, owner, number)
               SELECT ?1, coalesce(max(place), 0) + 1, ?2, ?3 FROM call_turns WHERE lane = ?1""",
            (lane.name, call.owner, call.number),
        )
    left = turn_in(connection, lane, call, now)
    if left == 0:
        _begin(connection, lane, call, now)
    return left


def turn_in(connection: sqlite3.Connection, lane: Lane, call: Place, now: float) -> float | None:
    """Return the seconds until a call that stands in line may begin; None if that is for others to say."""
    place = _find(connection, lane, call)
    if place is None:
        return 0.0  # it must line up again
    before = "SELECT 1 FROM call_turns WHERE lane = ? AND held = 0 AND place < ?"
    if connection.execute(before, (lane.name, place)).fetchone() is not None:
        return None
    if lane.concurrency is not None:
        held = "SELECT count(*) FROM call_turns WHERE lane = ? AND held = 1"
        if connection.execute(held, (lane.name,)).fetchone()[0] >= lane.concurrency:
            return None
    if lane.calls is None:
        return 0.0
    # The oldest that counts; a clock that was set back makes nobody wait for longer than a span.
    sql = """SELECT at FROM call_begins WHERE lane = ?1
                 AND n = (SELECT max(n) FROM call_begins WHERE lane = ?1) - ?2 + 1"""
    oldest = connection.execute(sql, (lane.name, lane.calls)).fetchone()
    return 0.0 if oldest is None else max(0.0, min(oldest["at"] - now, 0.0) + lane.span_s)


def leave_turn(connection: sqlite3.Connection, lane: Lane, call: Place) -> None:
    """The call is over, or waits no more."""
    sql = "DELETE FROM call_turns WHERE owner = ? AND number = ? AND lane = ?"
    connection.execute(sql, (call.owner, call.number, lane.name))


def _find(connection: sqlite3.Connection, lane: Lane, call: Place) -> int | None:
    sql = "SELECT place FROM call_turns WHERE owner = ? AND number = ? AND lane = ?"
    row = connection.execute(sql, (call.owner, call.number, lane.name)).fetchone()
    return None if row is None else row["place"]


def _begin(connection: sqlite3.Connection, lane: Lane, call: Place, now: float) -> None:
    if lane.concurrency is None:
        leave_turn(connection, lane, call)  # nobody needs to know when it is over
    else:
        sql = "UPDATE call_turns SET held = 1 WHERE owner = ? AND number = ? AND lane = ?"
        connection.execute(sql, (call.owner, call.number, lane.name))
    if lane.calls is not None:
        newest = "SELECT coalesce(max(n), 0) + 1 FROM call_begins WHERE lane = ?"
        n = connection.execute(newest, (lane.name,)).fetchone()[0]
        connection.execute("INSERT INTO call_begins (lane, n, at) VALUES (?, ?, ?)", (lane.name, n, now))
        connection.execute("DELETE FROM call_begins WHERE lane = ? AND n <= ?", (lane.name, n - lane.calls))
