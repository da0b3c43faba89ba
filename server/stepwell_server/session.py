"""The harness: a home with its catalogue, engine and sandbox, for scripts, notebooks and tests."""

import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from stepwell.catalog.catalog import Created
from stepwell.catalog.search import SearchResult
from stepwell.engine import Comparison, Emitted, Event, RunItem, StartOptions
from stepwell.model import LIVE, Json, Run, Workflow
from stepwell_sandbox.sandbox import ConfinedSandbox
from stepwell_server.app import App, open_app

PATIENCE_S = 60.0  # a timer that is further away is not waited for, unless a timeout is given
PAGE = 200  # workflows or events read at one time

_Target = Run | RunItem | str
"""A run, one of a list, or its id."""


class Session:
    """One home, opened in this process. Any number of sessions and servers may have the same home open.

    Use it as an async context manager; leaving it hands the runs that are not finished over to the next process.
    """

    def __init__(self, home: str | Path | None = None, *, sandbox: ConfinedSandbox | None = None) -> None:
        """Name the home; None is a temporary one that is removed at the end.

        Sessions of one event loop may share a `sandbox` from `stepwell_sandbox.open.open_sandbox`: starting one is
        most of the time that a session takes to open. It must be as strong as the homes' settings demand.
        """
        self._path = home
        self._sandbox = sandbox
        self._stack = AsyncExitStack()
        self._app: App | None = None

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            path = self._path if self._path is not None else await stack.enter_async_context(_temporary_home())
            self._app = await stack.enter_async_context(open_app(path, sandbox=self._sandbox))
            await self._app.folder.refresh()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._app = None
        await self._stack.__aexit__(kind, error, trace)

    @property
    def app(self) -> App:
        """The parts of which the session is made.

        Raises:
            RuntimeError: the session is not open.
        """
        if self._app is None:
            raise RuntimeError("the session is not open: use `async with Session(home) as session:`")
        return self._app

    async def add_workflow(
        self,
        name: str,
        source: str,
        description: str | None = None,
        *,
        replace: bool = False,
        tags: Sequence[str] = (),
        intents: Sequence[str] = (),
        entry: str | None = None,
    ) -> Created:
        """Store a workflow.

        Raises:
            InvalidName, InvalidSource, InvalidArguments, NameTaken: nothing was stored.
        """
        return await self.app.catalog.create(
            name,
            source,
            description=description,
            replace=replace,
            tags=tags,
            intents=intents,
            entry=entry,
            origin="session",
        )

    async def list_workflows(self, tag: str | None = None) -> list[Workflow]:
        """Return all workflows by name."""
        found: list[Workflow] = []
        cursor: str | None = None
        while True:
            page = await self.app.catalog.list(PAGE, cursor, tag)
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                return found

    async def delete_workflow(self, name: str) -> bool:
        """Delete a workflow; False if there is none of that name."""
        return await self.app.catalog.delete(name)

    async def search(self, query: str, limit: int = 5) -> SearchResult:
        """Return the workflows that fit an intent, best first."""
        return await self.app.catalog.search(query, limit)

    async def run(self, workflow: str, /, **inputs: Json) -> Run:
        """Run a workflow and return the run when it has ended, or waits for a person, an event or a far timer.

        A run that failed is returned, not raised: see its `status` and `error`.

        Raises:
            NotFound, InvalidArguments: it was not started.
        """
        return await self.wait(await self.app.engine.launch(workflow, inputs))

    async def start(self, workflow: str, options: StartOptions | None = None, /, **inputs: Json) -> Run:
        """Start a run and return it at once.

        Raises:
            NotFound, InvalidArguments, Conflict: it was not started.
        """
        return await self.app.engine.start(workflow, inputs, options or StartOptions())

    async def start_again(self, run: _Target, *, from_step: str | None = None) -> Run:
        """Start a new run with the input of one that did not complete, and return it as `run` does.

        With `from_step` it reuses the results of the old run from before that step.

        Raises:
            Conflict: the run goes on or has completed, or with `from_step`: its workflow has another version now.
            InvalidArguments: it has no such step.
        """
        return await self.wait(await self.app.engine.start_again(_id(run), from_step=from_step))

    async def run_code(self, code: str, /, **arguments: Json) -> Run:
        """Run code that is not stored and return the run as `run` does."""
        return await self.wait(await self.app.engine.start_code(code, arguments))

    async def wait(self, run: _Target, timeout: float | None = None) -> Run:
        """Return the run when it has ended, or when it waits for a person, an event or a timer far away.

        With `timeout` at the latest after so many seconds, and timers within them are waited for.
        """
        if timeout is not None:
            return await self.app.engine.wait(_id(run), timeout)
        while True:
            began = time.monotonic()
            found = await self.app.engine.wait(_id(run), PATIENCE_S)
            # Back before its time: nothing but a person, an event or a far timer can make it go on.
            if found.status not in LIVE or time.monotonic() - began < PATIENCE_S:
                return found

    async def get(self, run: _Target) -> Run:
        """Return the run as it stands.

        Raises:
            NotFound: there is no such run.
        """
        return await self.app.engine.get(_id(run))

    async def approve(
        self,
        run: _Target,
        *,
        key: str | None = None,
        digest: str | None = None,
        reviewer: str = "",
        reason: str = "",
        scope: Literal["once", "run", "workflow", "always"] = "once",
    ) -> Run:
        """Approve what the run waits for, and return it as `run` does.

        With a wider `scope` also the same calls of a tool that come later: in the run, in all runs of its version of
        the workflow, in all runs.

        Raises:
            Conflict: it waits for no approval, or for several and `key` does not say which.
            InvalidArguments: what it waits for can be approved once only.
        """
        more = {"key": key, "digest": digest, "reviewer": reviewer, "reason": reason, "scope": scope}
        return await self._decide(run, "approve", **more)

    async def reject(
        self, run: _Target, reason: str = "", *, key: str | None = None, digest: str | None = None, reviewer: str = ""
    ) -> Run:
        """Reject what the run waits for, and return it as `run` does.

        Raises:
            Conflict: as for `approve`.
        """
        return await self._decide(run, "reject", key=key, digest=digest, reviewer=reviewer, reason=reason)

    async def answer(self, run: _Target, value: Json, *, key: str | None = None) -> Run:
        """Answer the run's question, and return it as `run` does.

        Raises:
            Conflict: it asks nothing.
            InvalidArguments: the value is no answer to the question.
        """
        return await self._decide(run, "answer", value=value, key=key)

    async def emit(
        self, name: str, payload: Json = None, event_id: str | None = None, *, run: _Target | None = None
    ) -> Emitted:
        """Send an event to all runs, or to one: to those that wait for it, and to those that come to wait.

        Raises:
            NotFound, Conflict, InvalidArguments: see `Engine.emit`.
        """
        return await self.app.engine.emit(name, payload, event_id, run_id=None if run is None else _id(run))

    async def resume(
        self,
        run: _Target,
        decision: Literal["retry", "value", "fail", "discard"] | None = None,
        *,
        value: Json = None,
        version: str | None = None,
        budget_usd: float | None = None,
    ) -> Run:
        """Let a failed or cancelled run go on, or decide about a call in doubt; return it as `run` does.

        Raises:
            Conflict: the run is in no state for that.
        """
        resumed = await self.app.engine.resume(
            _id(run), decision, value=value, version=version, budget_usd=budget_usd, via="session"
        )
        return await self.wait(resumed)

    async def compare(self, run: _Target, version: str | None = None, *, source: str | None = None) -> Comparison:
        """Replay a recorded run without effects, with a version of its workflow or with a source; say where they part.

        Raises:
            NotFound: there is no such run or version.
            InvalidSource: the source does not parse.
        """
        return await self.app.engine.compare(_id(run), version, source)

    async def cancel(self, run: _Target, reason: str = "") -> Run:
        """End a run."""
        return await self.app.engine.cancel(_id(run), reason)

    async def timeline(self, run: _Target) -> list[Event]:
        """Return all events of a run, in order."""
        found: list[Event] = []
        while True:
            page = await self.app.engine.timeline(_id(run), after=found[-1].n if found else 0, limit=PAGE)
            found += page
            if len(page) < PAGE:
                return found

    async def _decide(self, run: _Target, decision: Literal["approve", "reject", "answer"], **how: Any) -> Run:
        decided = await self.app.engine.decide(_id(run), decision, via="session", **how)
        return await self.wait(decided)


def _id(run: _Target) -> str:
    return run if isinstance(run, str) else run.id


@asynccontextmanager
async def _temporary_home() -> AsyncGenerator[Path, None]:
    path = Path(tempfile.mkdtemp(prefix="stepwell-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
