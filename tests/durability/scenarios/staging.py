"""A run on a stage: a worker process that is killed where a test says, and the store seen from outside."""

import asyncio
import json
import os
import signal
import sqlite3
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepwell.engine import StartOptions
from stepwell.errors import NotFound
from stepwell.model import Run, RunStatus
from stepwell_server.app import App, open_app
from support.commits import Commits, watching
from support.outside import Outside
from support.server import LOCAL_HTTP, make_home
from support.workers import Worker, Workers

CONFIG = LOCAL_HTTP + "[sandbox]\npool = 1\n[workers]\nconcurrency = 32\n"
WAIT_S = 90.0
RESTING = {RunStatus.WAITING, RunStatus.IN_DOUBT}


@dataclass
class Stage:
    """A home with workers that can be killed; what is started and decided here is executed there."""

    home: Path
    app: App
    outside: Outside
    workers: Workers
    commits: Commits
    cast: list[Worker] = field(default_factory=list[Worker])

    def open(self) -> Worker:
        """Start one more worker."""
        self.cast.append(self.workers.open(self.home))
        return self.cast[-1]

    def kill(self) -> None:
        """Kill all workers."""
        while self.cast:
            self.cast.pop().end()

    def kill_stuck(self) -> None:
        """Kill all workers when one of them is in a transaction that does not end."""
        self.commits.wait_stuck(*(worker.pid for worker in self.cast))
        self.kill()

    def stop(self, worker: Worker) -> None:
        """Stop a worker, outside of its transactions: a stopped writer would keep everybody waiting."""
        with self.commits.held():
            worker.send(signal.SIGSTOP)
            while Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
                time.sleep(0.001)

    def stop_guests(self) -> None:
        """Stop the processes in which workflows run: nothing is delivered to them any more."""
        for worker in self.cast:
            for pid in self.guests(worker):
                os.kill(pid, signal.SIGSTOP)

    def guests(self, worker: Worker) -> list[int]:
        """Return the processes in which a worker runs workflows, or keeps ready for one."""
        return [pid for pid in leaves(worker.pid) if _name(pid) not in ("curl", "")]

    def wait_given_up(self, worker: Worker, guests: list[int]) -> None:
        """Wait until one of these processes has ended: the worker does not go on with its run."""
        until = time.monotonic() + WAIT_S
        while set(guests) <= set(self.guests(worker)):
            assert time.monotonic() < until, "the worker goes on with its run"
            time.sleep(0.02)

    async def store(self, name: str, source: str, *, replace: bool = False) -> None:
        await self.app.catalog.create(name, source, replace=replace)

    async def start(self, source: str, name: str = "flow", options: StartOptions | None = None) -> str:
        """Store a workflow, if it is not there yet, start it with `base`, and return the run's id."""
        try:
            await self.app.catalog.get(name)
        except NotFound:
            await self.store(name, source)
        run = await self.app.engine.start(name, {"base": self.outside.url}, options or StartOptions())
        return run.id

    async def ended(self, run_id: str) -> Run:
        """Wait for the end of a run, or until it needs a person."""
        async with asyncio.timeout(WAIT_S):
            while True:
                run = await self.app.engine.wait(run_id, 5.0)
                if run.status not in (RunStatus.PENDING, RunStatus.RUNNING, RunStatus.SLEEPING):
                    return run

    async def go_on(self, run_id: str) -> Run:
        """Kill all workers, start another one, and return the run at its end."""
        self.kill()
        self.open()
        return await self.ended(run_id)

    def journal(self, run_id: str) -> dict[str, Any]:
        """Return the rows of the journal by key, as they are on disk."""
        rows = self.commits.read("SELECT * FROM journal WHERE run_id = ? ORDER BY seq", run_id)
        return {row["key"]: dict(row) for row in rows}

    def events(self, run_id: str) -> list[tuple[str, dict[str, Any]]]:
        """Return the timeline."""
        rows = self.commits.read("SELECT type, data FROM events WHERE run_id = ? ORDER BY n", run_id)
        return [(row["type"], json.loads(row["data"])) for row in rows]

    def runs(self) -> list[sqlite3.Row]:
        return self.commits.read("SELECT * FROM runs ORDER BY created_at, id")


@asynccontextmanager
async def staging(path: Path, workers: Workers, config: str = CONFIG) -> AsyncGenerator[Stage, None]:
    """Set up a home without any worker yet."""
    async with AsyncExitStack() as stack:
        home = make_home(path / "home", config)
        outside = stack.enter_context(Outside().serving())
        app = await stack.enter_async_context(open_app(home, execute=False))
        commits = stack.enter_context(watching(home))
        stage = Stage(home, app, outside, workers, commits)
        stack.callback(stage.kill)
        yield stage


def leaves(pid: int) -> Iterator[int]:
    """The processes below one that have none below them."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return
    for child in children:
        found = list(leaves(child))
        yield from found or [child]


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
