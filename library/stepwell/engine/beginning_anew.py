"""Runs of workflows that say `durable=False`: after a crash they begin anew, and nothing is restored."""

import sqlite3
import time

from stepwell.engine.recorder import Lease, Recorder
from stepwell.engine.state import forget_run
from stepwell.model import JsonObject
from stepwell.store import timeline
from stepwell.store.progress import forget_progress
from stepwell.store.runs import RunRow


async def begin_anew(recorder: Recorder, lease: Lease, run: RunRow, options: JsonObject) -> None:
    """If the run's last holder died, and its journal shall not be used: forget how far it was, before that is read."""
    if run.crashes == 0 or options.get("durable") is not False:
        return

    def forget(connection: sqlite3.Connection) -> None:
        forget_progress(connection, run.id)
        forget_run(connection, run)
        timeline.add_event(connection, run.id, time.time(), "run.began_anew", {"attempt": run.attempts})

    recorder.add(lease, forget)
    await recorder.durable(lease)
