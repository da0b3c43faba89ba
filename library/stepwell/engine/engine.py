"""Runs: start them, decide on them, end them."""

import json
import time
from typing import Literal

from stepwell.engine import deciding, emitting
from stepwell.engine.budgeting import run_budget
from stepwell.engine.continuing import continue_run
from stepwell.engine.gating import ONCE
from stepwell.engine.pages import Emitted, StartOptions
from stepwell.engine.rehearsal import Comparison, find_difference, rehearse
from stepwell.engine.reopening import find_row
from stepwell.engine.retention import Collected, collect
from stepwell.engine.services import Services
from stepwell.engine.starting import Starter
from stepwell.engine.watching import Watcher
from stepwell.errors import InvalidArguments
from stepwell.model import Json, JsonObject, Run, Version
from stepwell.store import artifacts, journal

CANCEL_S = 5.0  # how long a cancel waits for the run's holder
CURRENT = "current"  # names a workflow's newest version where a hash may stand


class Engine(Watcher):
    """The runs of one store, worked on by this process among others. Make it with `open_engine`."""

    def __init__(self, services: Services, starter: Starter) -> None:
        super().__init__(services)
        self._starter = starter

    async def start(self, name: str, arguments: JsonObject, options: StartOptions | None = None) -> Run:
        """Start a run, which goes on whatever becomes of the caller.

        Raises:
            NotFound: no workflow of that name.
            InvalidArguments: the arguments do not fit.
            Conflict: run_id or idempotency_key belongs to another run.
        """
        return await self.get(await self.launch(name, arguments, options))

    async def launch(self, name: str, arguments: JsonObject, options: StartOptions | None = None) -> str:
        """Do what `start` does, and return the run's id alone.

        Raises:
            NotFound, InvalidArguments, Conflict: see `start`.
        """
        return await self._starter.start(name, arguments, options or StartOptions())

    async def start_code(self, code: str, arguments: JsonObject, options: StartOptions | None = None) -> Run:
        """Start ad hoc code: a module with an entry, or a script whose last expression is the result."""
        return await self.get(await self._starter.start_code(code, arguments, options or StartOptions()))

    async def start_again(
        self,
        run_id: str,
        options: StartOptions | None = None,
        *,
        workflow: str | None = None,
        from_step: str | None = None,
    ) -> Run:
        """Start a new run, `<id>-retry-1`, with the input of one that did not complete, on the current version.

        With `from_step`, the outcomes of the old run from before that step are reused; that may have completed.

        Raises:
            NotFound: no such run, or its workflow was deleted.
            InvalidArguments: it is not of `workflow`, has no such step, or its input does not fit any more.
            Conflict: it goes on; it has completed; its steps were made by another version of the workflow.
        """
        return await self.get(
            await self._starter.start_again(run_id, options or StartOptions(), name=workflow, from_step=from_step)
        )

    async def decide(
        self,
        run_id: str,
        decision: Literal["approve", "reject", "answer"],
        *,
        value: Json = None,
        key: str | None = None,
        digest: str | None = None,
        reason: str = "",
        reviewer: str = "",
        scope: str = ONCE,
        via: str,
    ) -> Run:
        """Approve, reject or answer; the run goes on.

        `scope` is one of the wait's options: an approval counts for this call, or also for more.

        Raises:
            NotFound, Conflict, InvalidArguments, Forbidden: see `deciding.decide`; nothing was written.
        """
        _check_json(value)
        await self._database.write(
            lambda c: deciding.decide(
                c,
                run_id,
                decision,
                value=value,
                key=key,
                digest=digest,
                reason=reason,
                reviewer=reviewer,
                scope=scope,
                via=via,
            )
        )
        self._changed(run_id)
        return await self.get(run_id)

    async def resume(
        self,
        run_id: str,
        decision: Literal["retry", "value", "fail", "discard"] | None = None,
        *,
        value: Json = None,
        version: str | None = None,
        key: str | None = None,
        digest: str | None = None,
        budget_usd: float | None = None,
        via: str,
    ) -> Run:
        """Let a failed or cancelled run go on from its journal, or say what became of a call in doubt.

        With `version` (a hash or its beginning, or "current") the run goes on with that version of its workflow from
        where the two agree; `decision` then says what to do with effects beyond that point: "value" uses their
        results where the version makes the same calls, "retry" makes them again.
        `budget_usd` is what the run may spend from now on, in all and within the operator's bound.
        Of several calls in doubt it is the one that was lost first, unless `key` names one.

        Raises:
            NotFound: no such run or version.
            Conflict: the run is in no state for that, a decision is needed, or `digest` is of another call.
        """
        _check_json(value)
        if budget_usd is not None:
            budget_usd = run_budget(budget_usd, {}, self._services.models.budgets.per_run) or 0.0
        if version is not None and await self._continue(run_id, version, decision, budget_usd, via):
            self._changed(run_id)
            return await self.get(run_id)
        await self._database.write(
            lambda c: deciding.resume(
                c, run_id, decision, value=value, key=key, digest=digest, budget_usd=budget_usd, via=via
            )
        )
        self._changed(run_id)
        return await self.get(run_id)

    async def compare(self, run_id: str, version: str | None = None, source: str | None = None) -> Comparison:
        """Replay a recorded run without effects with a version of its workflow, or with a source that is not stored.

        Without either it is the workflow's current version.

        Raises:
            NotFound: no such run or version.
            InvalidSource: the source does not parse.
            RunError: the replay crossed a limit.
        """
        row, entries = await self._database.read(lambda c: (find_row(c, run_id), journal.list_entries(c, run_id)))
        if source is not None:
            wanted = self._services.workflows.analyse_code(source)
        else:
            wanted = await self._version(row.workflow, version or CURRENT)
        rehearsal = await rehearse(self._services, row, wanted, entries)
        return Comparison(run_id, wanted.hash, rehearsal.delivered, find_difference(row, rehearsal))

    async def _continue(
        self, run_id: str, version: str, decision: str | None, budget_usd: float | None, via: str
    ) -> bool:
        """Continue the run on a version; False if that is its own."""
        row = await self._database.read(lambda c: find_row(c, run_id))
        if version != CURRENT and row.version.startswith(version):
            return False
        wanted = await self._version(row.workflow, version)
        if wanted.hash == row.version:
            return False
        await continue_run(self._services, row, wanted, decision, budget_usd=budget_usd, via=via)
        return True

    async def _version(self, workflow: str, version: str) -> Version:
        return (await self._services.workflows.get(workflow, None if version == CURRENT else version)).version

    async def cancel(self, run_id: str, reason: str = "") -> Run:
        """End a live run; one that has ended stays as it is.

        Raises:
            NotFound: no such run.
        """
        live = await self.ask_cancel(run_id, reason)
        return await self.wait(run_id, CANCEL_S) if live else await self.get(run_id)

    async def ask_cancel(self, run_id: str, reason: str) -> bool:
        """Like `cancel`, without waiting for the end; whether the run was live."""
        live = await self._database.write(lambda c: deciding.ask_cancel(c, run_id, reason))
        self._changed(run_id)
        return live

    async def emit(
        self, name: str, payload: Json, event_id: str | None = None, *, run_id: str | None = None
    ) -> Emitted:
        """Send an event: to all runs, or as a signal to one. Runs that wait get it now, others when they come to wait.

        An id that was used before changes nothing.

        Raises:
            NotFound, Conflict, InvalidArguments: see `emitting.emit`; nothing was sent.
        """
        return await emitting.emit(self._database, self._changed, name, payload, event_id=event_id, run_id=run_id)

    async def collect(
        self, before: float, *, artifacts: bool = False, dry_run: bool = False, rewrite: bool = False
    ) -> Collected:
        """Delete runs that ended before a time in unix seconds; see `retention.collect`."""
        return await collect(self._database, before, artifacts=artifacts, dry_run=dry_run, rewrite=rewrite)

    async def delete_artifact(self, run_id: str, name: str) -> None:
        """Delete what a run saved under that name, all versions of it.

        Raises:
            NotFound: it saved nothing under it; the hint names what there is.
        """
        await self.artifact(run_id, name)
        await self._database.write(lambda c: artifacts.delete_artifact(c, name, time.time(), run_id))

    def _changed(self, run_id: str) -> None:
        self._services.orders.notify(run_id)
        self._services.news.notify(run_id)
        self._services.runs.kick()


def _check_json(value: Json) -> None:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArguments(f"the value is no JSON: {error}") from error
