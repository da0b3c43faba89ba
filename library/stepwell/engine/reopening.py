"""A run that has ended without completing, taken up again from its journal."""

import json
import sqlite3
import time

from stepwell.engine.agent_keys import is_inside, to_take_back
from stepwell.engine.book import was_in_doubt, was_made
from stepwell.engine.replaying import CUT
from stepwell.errors import Conflict, NotFound
from stepwell.model import LIVE
from stepwell.store import journal, runs, timeline
from stepwell.store.runs import RunRow


def reopen(connection: sqlite3.Connection, row: RunRow, *, via: str) -> None:
    """Make a failed, cancelled or dead run pending; what failed is tried anew, all else is restored.

    Raises:
        Conflict: the run goes on by itself, or its end is final.
    """
    if row.status in LIVE:
        raise Conflict(
            f"run {row.id} is {row.status}; it goes on by itself",
            hint=f"get_run(run_id={row.id!r}, wait_seconds=20) waits for it.",
        )
    if row.unwinding is not None:
        raise Conflict(f"what run {row.id} had done was undone when it ended as {row.status}", hint="Start a new run.")
    if not runs.reopen_run(connection, row.id):
        raise Conflict(f"run {row.id} is {row.status}, which is its end", hint="Start a new run.")
    again = take_back_failure(connection, row.id, row.error)
    timeline.add_event(connection, row.id, time.time(), "run.reopened", {"via": via, "again": again})


def take_back_failure(connection: sqlite3.Connection, run_id: str, error: str | None) -> list[str]:
    """Prepare the journal for another attempt at what ended the run; return the names of what is tried anew."""
    entries = journal.list_entries(connection, run_id)
    failed = _what_failed(entries, error)
    agents = to_take_back(entries, [(entry, json.loads(entry.error or "{}").get("code", "")) for entry in failed])
    deliveries = [entry.delivery for entry in (*failed, *agents) if entry.delivery is not None]
    if deliveries:
        journal.drop_deliveries(connection, run_id, min(deliveries))
    # A gate is used once: what is tried anew asks anew.
    gates = {f"{entry.key}!{gate}" for entry in failed for gate in ("policy", "approval", "doubt")}
    again = [e for e in failed if e.kind != "step" and not _was_sent(e)]
    # Children that were under way ended with the run: they are asked for anew, and taken up again.
    again += [e for e in entries if e.kind == "child" and e.status == "open" and not e.key.startswith(CUT)]
    gone = {e.seq for e in (*again, *agents, *(e for e in entries if e.key in gates))}
    journal.drop_entries(connection, run_id, list(gone))
    for entry in failed:
        if entry.kind == "step":
            journal.set_aside(connection, run_id, entry)
        elif _was_sent(entry):
            journal.doubt_again(connection, run_id, entry.seq)
    return [entry.name for entry in failed]


def _was_sent(entry: journal.Entry) -> bool:
    # Tried anew by itself is only what has had no effect; of a tool that may be repeated nobody will be asked.
    return was_in_doubt(entry) or was_made(entry)


def _what_failed(entries: list[journal.Entry], error: str | None) -> list[journal.Entry]:
    """Return the entries whose failure ended the run, which shall be tried anew.

    That is the one whose exception left the body, and those that the body learned of later or never. Failures before
    it were handled: they are part of the path that the run took.
    """
    key = json.loads(error).get("key") if error is not None else None
    first = next((entry for entry in entries if entry.key == key and entry.status == "error"), None)
    if first is None:
        return []
    return [e for e in entries if _is_outcome(e) and _not_before(e, first)]


def _is_outcome(entry: journal.Entry) -> bool:
    # What fails inside a step's attempt or an agent's call is a part of that.
    return entry.status == "error" and "@" not in entry.key and not is_inside(entry.key)


def _not_before(entry: journal.Entry, first: journal.Entry) -> bool:
    return entry.delivery is None or first.delivery is None or entry.delivery >= first.delivery


def find_row(connection: sqlite3.Connection, run_id: str) -> RunRow:
    """Return the run of that id.

    Raises:
        NotFound: there is none.
    """
    row = runs.find_run(connection, run_id)
    if row is None:
        near = runs.near_ids(connection, run_id)
        hint = f"Near ones: {', '.join(near)}." if near else "list_runs() shows the newest."
        raise NotFound(f"there is no run {run_id[:80]!r}", hint=hint)
    return row
