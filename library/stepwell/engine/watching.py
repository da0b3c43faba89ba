"""What anybody may see of runs, and the wait for one of them."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import Literal

from stepwell.engine import monitor
from stepwell.engine.border import show
from stepwell.engine.monitor import RunPage, StepItem, WorkerItem
from stepwell.engine.pages import Event, JournalEntry, LogLine
from stepwell.engine.reopening import find_row
from stepwell.engine.services import Services
from stepwell.engine.view import view_run
from stepwell.errors import NotFound
from stepwell.model import LIVE, Run, RunStatus
from stepwell.store import artifacts, journal, monitoring, spending, timeline
from stepwell.store.artifacts import Artifact
from stepwell.store.spending import Spent

CHECK_S = 0.5  # how often a watcher looks for what another process wrote, besides being told
OnEvent = Callable[[Event], Awaitable[None]]


class Watcher:
    """Looks at the runs of one store."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._database = services.database

    async def get(self, run_id: str) -> Run:
        """Return a run.

        Raises:
            NotFound: no such run.
        """
        return await self._get(run_id, steps=True)

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

    async def _get(self, run_id: str, *, steps: bool | None) -> Run:
        return await self._database.read(lambda c: view_run(c, find_row(c, run_id), steps=steps))

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
