"""The pause of a run: what is stored when its process ends and the run goes on later."""

import sqlite3

from stepwell.engine.deciding import give_back
from stepwell.engine.retrying import sleep_until_retry
from stepwell.engine.verdict import End
from stepwell.model import JsonObject, RunStatus
from stepwell.store import runs, timeline
from stepwell.store.runs import RunRow


def pause_run(
    connection: sqlite3.Connection, run: RunRow, end: End, options: JsonObject, spent: tuple[float, float], now: float
) -> None:
    """Let go of a run that waits, that is tried again after it failed, or whose process was killed.

    `spent` is seconds of work and of CPU.
    """
    if end.status is RunStatus.PENDING:
        give_back(connection, run, now)
        return
    runs.add_work(connection, run.id, *spent)
    if end.error is not None:
        sleep_until_retry(connection, run, end, options, now)
        return
    runs.park_run(connection, run.id, end.status, end.wake_at, end.keys)
    kind = "run.in_doubt" if end.status is RunStatus.IN_DOUBT else "run.waiting"
    timeline.add_event(connection, run.id, now, kind, {"status": end.status, "wake_at": end.wake_at})
