"""Runs: start them, watch them, decide on them."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import Literal

from stepwell.engine import deciding, emitting, monitor
from stepwell.engine.border import show
from stepwell.engine.budgeting import run_budget
from stepwell.engine.continuing import continue_run
from stepwell.engine.gating import ONCE
from stepwell.engine.monitor import RunPage, StepItem, WorkerItem
from stepwell.engine.pages import Emitted, Event, JournalEntry, LogLine, StartOptions
from stepwell.engine.rehearsal import Comparison, find_difference, rehearse
from stepwell.engine.reopening import find_row
from stepwell.engine.retention import Collected, collect
from stepwell.engine.services import Services
from stepwell.engine.starting import Starter
from stepwell.engine.view import view_run
from stepwell.errors import InvalidArguments, NotFound
from stepwell.model import LIVE, Json, JsonObject, Run, RunStatus, Version
from stepwell.store import artifacts, journal, monitoring, spending, timeline
from stepwell.store.artifacts import Artifact
from stepwell.store.spending import Spent

CHECK_S = 0.5  # how often a watcher looks for what another process wrote, besides being told
CANCEL_S = 5.0  # how long a cancel waits for the run's holder
CURRENT = "current"  # names a workflow's newest version where a hash may stand
OnEvent = Callable[[Event], Awaitable[None]]


class Engine:
    """The runs of one store, worked on by this process among others. Make it with `open_engine`."""

    def __init__(self, services: Services, starter: Starter) -> None:
        self._services = services
        self._database = services.database
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

    async def get(self, run_id: str) -> Run:
        """Return a run.

        Raises:
            NotFound: no such run.
        """
        return await self._get(run_id, steps=True)

    async def _get(self, run_id: str, *, steps: bool | None) -> Run:
        return await self._database.read(lambda c: view_run(c, find_row(c, run_id), steps=steps))

    async def wait(self, run_id: str, seconds: float, on_event: OnEvent | None = None) -> Run:
        """Return the run when it has ended, or rests, or after `seconds`; `on_event` gets every event so far and new.

        A run rests when only a person, an event or a timer later than the deadline can make it go on.
        """
        deadline = time.time() + seconds
        seen = 0
        news = asyncio.Event()
        with ExitStack() as watched:
            watched.enter_context(self._services.news.watch(run_id, news))
            if on_event is not None:
                watched.enter_context(self._services.commits.watch(run_id, news))
            while True:
                news.clear()
                # Before its events, so that the last of them is not missed; while it goes on without its steps, since
                # it is looked at again and again.
                run = await self._get(run_id, steps=None)
                while on_event is not None and (events := await self.timeline(run_id, after=seen)):
                    for event in events:
                        seen = event.n
                        await on_event(event)
                if run.status not in LIVE:
                    return run
                left = deadline - time.time()
                if left <= 0 or await self._rests(run, deadline):
                    run = await self.get(run_id)
                    if left <= 0 or await self._rests(run, deadline):  # it may have gone on
                        return run
                check = asyncio.get_running_loop().call_later(min(left, CHECK_S), news.set)
                try:
                    await news.wait()
                finally:
                    check.cancel()

    async def list(
        self,
        *,
        status: str | None = None,
        workflow: str | None = None,
        session_id: str | None = None,
        parent_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> RunPage:
        """Return runs, newest first, without the results of their steps.

        Raises:
            InvalidArguments: no such status, or a cursor that is none.
        """
        wanted = monitoring.Filter(status, workflow, session_id, parent_id)
        return await self._database.read(lambda c: monitor.list_page(c, wanted, limit=limit, cursor=cursor))

    async def counts(self) -> dict[str, int]:
        """Return how many runs there are of every status that one has."""
        return await self._database.read(monitoring.count_statuses)

    async def workers(self) -> Sequence[WorkerItem]:
        """Return the processes that execute runs."""
        return await self._database.read(monitor.list_workers)

    async def steps(self, run_id: str, *, after: int = 0, limit: int = 200) -> Sequence[StepItem]:
        """Return the steps of a run with their outcomes, attempts and times; `after` is the `seq` of the last one."""
        return await self._database.read(lambda c: monitor.list_steps(c, run_id, after=after, limit=limit))

    async def timeline(self, run_id: str, *, after: int = 0, limit: int = 200) -> Sequence[Event]:
        """Return events in order."""
        rows = await self._database.read(lambda c: timeline.list_events(c, run_id, after, limit))
        return [Event(*row) for row in rows]

    async def logs(self, run_id: str, *, after: int = 0, limit: int = 200) -> Sequence[LogLine]:
        """Return lines of output in order."""
        rows = await self._database.read(lambda c: timeline.list_logs(c, run_id, after, limit))
        return [LogLine(*row) for row in rows]

    async def journal(self, run_id: str, *, after: int = 0, limit: int = 200) -> Sequence[JournalEntry]:
        """Return entries of the journal, values as plain JSON."""
        entries = await self._database.read(lambda c: journal.list_calls(c, run_id, after, limit))
        return [
            JournalEntry(
                e.seq, e.key, e.kind, e.name, e.step, e.attempt, e.status, show(e.args).value, show(e.value).value,
                e.error, e.opened_at, e.finished_at, e.delivery,
            )
            for e in entries
        ]  # fmt: skip

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
        if version is not None and await self._continue(run_id, version, decision, via):
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

    async def _continue(self, run_id: str, version: str, decision: str | None, via: str) -> bool:
        """Continue the run on a version; False if that is its own."""
        row = await self._database.read(lambda c: find_row(c, run_id))
        if version != CURRENT and row.version.startswith(version):
            return False
        wanted = await self._version(row.workflow, version)
        if wanted.hash == row.version:
            return False
        await continue_run(self._services, row, wanted, decision, via=via)
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

    async def artifact(self, run_id: str, name: str) -> Artifact:
        """Return what a run saved under that name.

        Raises:
            NotFound: it saved nothing under it; the hint names what there is.
        """
        found = await self._database.read(lambda c: artifacts.find_artifact(c, name, run_id))
        if found is None:
            await self.get(run_id)
            names = [row.name for row in await self.artifacts(run_id)]
            hint = f"It has: {', '.join(names[:20])}." if names else "It has none."
            raise NotFound(f"run {run_id} has no artifact {name[:80]!r}", hint=hint)
        return found

    async def artifacts(self, run_id: str | None = None, limit: int = -1) -> Sequence[Artifact]:
        """Return the artifacts of a run, or of all, without data; with a limit those of the names saved last."""
        return await self._database.read(lambda c: artifacts.list_artifacts(c, run_id, limit))

    async def delete_artifact(self, run_id: str, name: str) -> None:
        """Delete what a run saved under that name, all versions of it.

        Raises:
            NotFound: it saved nothing under it; the hint names what there is.
        """
        await self.artifact(run_id, name)
        await self._database.write(lambda c: artifacts.delete_artifact(c, name, time.time(), run_id))

    async def _rests(self, run: Run, deadline: float) -> bool:
        if run.status not in LIVE:
            return True
        if run.status is RunStatus.SLEEPING:
            return all(wait.until is not None and wait.until > deadline for wait in run.waiting_for)
        if run.status not in (RunStatus.WAITING, RunStatus.IN_DOUBT):
            return False
        for wait in run.waiting_for:
            if wait.until is not None and wait.until <= deadline:
                return False
            if wait.kind == "child" and run.status is RunStatus.WAITING:
                child = await self._get(wait.context["run_id"], steps=False)
                # One that has ended lets this run go on, which it has only not done yet.
                if child.status not in LIVE or not await self._rests(child, deadline):
                    return False
        return True

    async def spent(
        self,
        by: Literal["model", "agent", "step", "run_id"],
        *,
        run_id: str | None = None,
        session_id: str | None = None,
        since: float = 0.0,
    ) -> dict[str, Spent]:
        """Return what models were asked and what it has cost: by a run, a session, or all since unix seconds."""
        where, value = ("at >=", since) if session_id is None else ("session_id =", session_id)
        if run_id is not None:
            where, value = "run_id =", run_id
        return await self._database.read(lambda c: spending.sum_by(c, by, where, value))

    def _changed(self, run_id: str) -> None:
        self._services.orders.notify(run_id)
        self._services.news.notify(run_id)
        self._services.runs.kick()


def _check_json(value: Json) -> None:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArguments(f"the value is no JSON: {error}") from error
