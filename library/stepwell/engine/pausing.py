"""The pause of a run: whether it can be made, and what is stored when its process ends and the run goes on later."""

import sqlite3
from collections.abc import Mapping

from stepwell.engine.deciding import give_back
from stepwell.engine.retrying import sleep_until_retry
from stepwell.engine.verdict import End
from stepwell.model import JsonObject, RunStatus
from stepwell.store import runs, timeline
from stepwell.store.runs import RunRow
from stepwell.store.waits import NewWait

GRACE_S = 2.0  # a timer that fires within this keeps its process


def pause_of(waiting: Mapping[str, NewWait], now: float) -> End | None:
    """Return the pause of a run that only waits for these; None if a timer of theirs is about to fire."""
    kinds = {wait.kind for wait in waiting.values()}
    wake_at = min((wait.until for wait in waiting.values() if wait.until is not None), default=None)
    if wake_at is not None and wake_at - now < GRACE_S:
        return None
    if "in_doubt" in kinds:
        return End(RunStatus.IN_DOUBT, wake_at=wake_at, keys=tuple(waiting))
    status = RunStatus.SLEEPING if kinds == {"timer"} else RunStatus.WAITING
    return End(status, wake_at=wake_at, keys=tuple(waiting))


def children_rest(waiting: Mapping[str, NewWait], states: Mapping[str, str]) -> bool:
    """Whether no child that is waited for works: `states` has the status of each that is known."""
    expected = sum(wait.kind == "child" for wait in waiting.values())
    if not expected:
        return True
    return len(states) == expected and not any(state in ("pending", "running") for state in states.values())


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
