"""A run that this process has claimed: from the claim to its end, its pause, or its loss."""

import logging
import sqlite3
import time
from dataclasses import replace

from stepwell.engine.deciding import begin_unwinding, cancel_children
from stepwell.engine.ending import end_run
from stepwell.engine.limiting import RunLimits, run_limits
from stepwell.engine.pausing import pause_run
from stepwell.engine.recorder import Lease
from stepwell.engine.retrying import retried
from stepwell.engine.services import Services
from stepwell.engine.stretch import Stretch
from stepwell.engine.verdict import End, end_data, read_end
from stepwell.engine.view import dump_error
from stepwell.errors import Fenced, RunError
from stepwell.model import JsonObject, RunStatus
from stepwell.store import journal, retries, runs, timeline
from stepwell.store.runs import RunRow

log = logging.getLogger(__name__)

UNDOING = (RunStatus.FAILED, RunStatus.REJECTED, RunStatus.CANCELLED, RunStatus.DEAD)


class Execution:
    """Holds the lease of one run."""

    def __init__(self, services: Services, row: RunRow) -> None:
        self._services = services
        self._run = row
        self._lease = Lease(row.id, row.epoch)
        self._limits = RunLimits(services.limits, services.limits)
        self._options: JsonObject = {}
        self._spent = 0.0, 0.0
        """Seconds of work and of CPU that count for the run."""

    async def live(self) -> None:
        """Work on the run until it ends, pauses, or another process has it. Raises nothing but cancellation."""
        try:
            await self._close(await self._work_on())
        except Fenced:
            log.warning("run %s: another process holds it now", self._run.id)
        except Exception:
            # It stays ours without anybody working on it: the dispatcher hands such runs back.
            log.exception("run %s: its end could not be stored", self._run.id)
        # Not when it was cancelled: what is still queued must know of a write that was lost before.
        self._services.recorder.forget(self._lease)

    async def _work_on(self) -> End:
        try:
            return await self._result()
        except Fenced:
            raise
        except Exception:
            # The host's fault: the run is handed back, not failed; a run that does this every time ends as dead.
            log.exception("run %s: could not be worked on", self._run.id)
            return End(RunStatus.PENDING)

    async def _result(self) -> End:
        """Return how the run ends or pauses; where it does not complete, after its steps have been undone."""
        if self._run.unwinding is not None:
            return await self._unwind(read_end(self._run.unwinding))
        try:
            end = await self._work()
        except RunError as error:
            end = End(RunStatus.FAILED, error=self._limits.described(error))
        end = retried(end, self._run, self._options)
        if end.status not in UNDOING:
            return end
        await self._services.recorder.durable(self._lease)
        if not await self._services.database.read(lambda c: journal.has_undo(c, self._run.id)):
            return end
        self._services.recorder.add(self._lease, lambda c: begin_unwinding(c, self._run.id, end))
        return await self._unwind(end)

    async def _work(self) -> End:
        version = await self._services.workflows.version(self._run.version)
        self._limits, self._options = run_limits(self._services.limits, version), version.options
        stretch = Stretch(self._services, self._run, self._lease, version, self._limits)
        try:
            return await stretch.work()
        finally:
            self._spent = stretch.work_s, stretch.cpu_s

    async def _unwind(self, end: End) -> End:
        """Undo the steps of a run that ends so; return that end, or the pause of an undo function."""
        services = self._services
        await services.recorder.durable(self._lease)
        # Work that undoes has the limits to itself: the run may have used them up.
        run = replace(self._run, work_s=0.0, cpu_s=0.0)
        data: JsonObject = {}
        try:
            version = await services.workflows.version(run.version)
            undoing = Stretch(services, run, self._lease, version, run_limits(services.limits, version), "undo")
            result = await undoing.work()
        except RunError as error:
            data = {"error": f"{type(error).__name__}: {error.message}"[:500]}
        else:
            if result.parked:
                return result
            data = {"stopped": True} if result.status is RunStatus.CANCELLED else {"failed": undoing.not_undone}
        now = time.time()
        services.recorder.add(self._lease, lambda c: timeline.add_event(c, run.id, now, "run.undone", data))
        return end

    async def _close(self, end: End) -> None:
        run, now = self._run, time.time()
        children: list[str] = []
        if end.parked:
            self._write_pause(end)
        else:
            error = None if end.error is None else dump_error(end.error)

            def write(connection: sqlite3.Connection) -> None:
                runs.add_work(connection, run.id, *self._spent)
                if end.error is not None:
                    retries.count_failure(connection, run.id)
                if end_run(
                    connection, run, end.status, now, output=end.output, error=error, reason=end.reason,
                    data=end_data(end),
                ):  # fmt: skip
                    children.extend(cancel_children(connection, run.id, f"its parent {run.id} ended as {end.status}"))

            self._services.recorder.add(self._lease, write)
        await self._services.recorder.durable(self._lease)
        for child in children:
            self._services.orders.notify(child)
            self._services.news.notify(child)
        self._services.news.notify(run.id)
        if run.parent_id is not None:
            self._services.orders.notify(run.parent_id)
        self._services.runs.kick()

    def _write_pause(self, end: End) -> None:
        run, options, spent, now = self._run, self._options, self._spent, time.time()
        self._services.recorder.add(self._lease, lambda c: pause_run(c, run, end, options, spent, now))
