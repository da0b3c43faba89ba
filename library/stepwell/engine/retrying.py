"""Runs that are tried again by themselves when they fail, because their module has `options = dict(retries=...)`."""

import sqlite3
import time
from dataclasses import replace

from stepwell.engine.reopening import take_back_failure
from stepwell.engine.verdict import End, end_data
from stepwell.engine.view import dump_error
from stepwell.model import JsonObject, RunStatus
from stepwell.model.retries import read_retries
from stepwell.sdk.options import StepOptions
from stepwell.store import retries, timeline
from stepwell.store.runs import RunRow

# Another attempt would come to the same end, or ask a person again who has decided.
FINAL = frozenset({"nondeterminism", "protocol_violation", "limit_exceeded", "budget_exceeded", "in_doubt"})


def retried(end: End, run: RunRow, options: JsonObject) -> End:
    """Return what a stretch's end comes to: a sleep before the next attempt, `dead` after the last, or itself."""
    policy = _policy(options)
    if end.status is not RunStatus.FAILED or policy.max_attempts <= 1:
        return end
    if end.error is not None and end.error.code in FINAL:
        return end
    failed = run.failures + 1
    if failed >= policy.max_attempts:
        return replace(end, status=RunStatus.DEAD)
    return replace(end, status=RunStatus.SLEEPING, wake_at=time.time() + policy.delay(failed))


def sleep_until_retry(connection: sqlite3.Connection, run: RunRow, end: End, options: JsonObject, now: float) -> None:
    """Let go of a run that has failed; what failed is tried anew when it wakes, all else is restored."""
    error = None if end.error is None else dump_error(end.error)
    again = take_back_failure(connection, run.id, error)
    retries.sleep_until_retry(connection, run.id, error, end.wake_at or now)
    data: JsonObject = {"failed": run.failures + 1, "attempts": _policy(options).max_attempts, "again": again}
    timeline.add_event(connection, run.id, now, "run.retrying", end_data(end) | data | {"wake_at": end.wake_at})


def _policy(options: JsonObject) -> StepOptions:
    try:
        return read_retries(options)
    except (TypeError, ValueError):
        return StepOptions()  # stored before they were checked
