"""Why a pending run is not worked on yet, as a person or a model is told."""

import sqlite3
import time

from stepwell.engine.lease import boot_id
from stepwell.model import RunStatus
from stepwell.model.sizes import show_size
from stepwell.store import workers
from stepwell.store.runs import RunRow


def why_queued(connection: sqlite3.Connection, row: RunRow) -> str | None:
    """Return what a pending run waits for; None for others, and for one that is about to begin."""
    if row.status is not RunStatus.PENDING:
        return None
    if row.wake_at is not None and (left := row.wake_at - time.time()) > 0:
        return f"its process was killed from outside; it is tried again in {left:.0f} s"
    full = workers.list_fullness(connection, boot_id(), time.monotonic())
    if not full:
        return "no process executes runs of this home; `stepwell serve` does"
    if not all(info.get("queue") for info in full):
        return None
    if crowded := [info for info in full if info["queue"] == "memory"]:
        used = show_size(sum(info.get("memory_bytes") or 0 for info in crowded))
        budget = sum(info.get("memory_budget") or 0 for info in crowded)
        of = f" of {show_size(budget)}" if budget else ""
        return f"waiting for memory: the runs that are worked on count with {used}{of} (memory_bytes under [workers])"
    slots = sum(info.get("slots") or 0 for info in full)
    return f"waiting for its turn: {slots} runs are worked on at one time (concurrency under [workers])"
