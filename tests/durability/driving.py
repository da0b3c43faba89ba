"""Runs in the hands of other processes: an outside that knows what has happened, and one who decides for the people."""

import asyncio
import json
import random
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepwell.errors import Conflict
from stepwell.model import LIVE
from stepwell.store import journal, timeline
from stepwell.store.journal import Entry
from stepwell_server.app import App, open_app
from support.outside import Outside
from support.server import LOCAL_HTTP
from support.workers import Worker, Workers

CONFIG = LOCAL_HTTP + "[workers]\nconcurrency = 32\n[sandbox]\npool = 2\n"
STUCK_S = 60.0  # without any change of any run


class Stuck(Exception):
    """Runs that go no further, by id."""


class Errands(Outside):
    """Answers late, by chance; knows what has happened for whom."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.asked: Counter[str] = Counter()
        self.answers: dict[str, dict[str, Any]] = {}
        self._rng = rng
        self._serial = 0
        # Clients that are killed break their connections.
        self._server.handle_error = lambda request, client_address: None

    @property
    def requests(self) -> int:
        return self._serial

    def read(self, path: str) -> object:
        return self._serve(path, self.reads)

    def effect(self, path: str, body: str) -> object:
        return self._serve(path, self.effects)

    def _serve(self, path: str, counter: Counter[str]) -> object:
        tag = path.rsplit("/", 1)[1]
        with self._changed:
            self._serial += 1
            counter[tag] += 1
            self.asked[tag] += 1
            answer = {"tag": tag, "n": self._serial, "count": counter[tag]}
            if counter is self.effects:
                self.answers[tag] = answer
            delay = self._rng.choice((0.0, 0.001, 0.005, 0.02))
        time.sleep(delay)
        return answer


@dataclass(frozen=True, slots=True)
class Ended:
    """What a run has come to."""

    id: str
    workflow: str
    parent_id: str | None
    status: str
    output: bytes | None
    error: dict[str, Any] | None
    entries: dict[str, Entry]
    logs: list[tuple[float, str]]
    events: list[timeline.EventRow]

    @property
    def keys(self) -> set[str]:
        """The keys outside of attempts, whose number depends on what was read twice."""
        return {key for key in self.entries if "@" not in key and "!" not in key}

    @property
    def delivered(self) -> list[str]:
        """The keys in the order in which the body learned of their outcomes."""
        marked = [entry for entry in self.entries.values() if entry.delivery is not None]
        return [entry.key for entry in sorted(marked, key=lambda entry: entry.delivery or 0)]

    @property
    def dropped(self) -> bool:
        """Whether a branch was cancelled, or the run ended, while a call was under way: a replay makes that again."""
        started = {event.data["key"] for event in self.events if event.type == "call.started"}
        ended = {event.data["key"] for event in self.events if event.type in ("call.completed", "call.failed")}
        return bool(started - ended) or any(event.type == "call.dropped" for event in self.events)

    @property
    def given_up(self) -> bool:
        """Whether it was cancelled with its parent, in a branch that was cancelled: its parent never asks for it."""
        return self.status == "cancelled" and self.parent_id is not None

    @property
    def settled(self) -> bool:
        """Whether nothing was left unfinished: no call without an outcome, no step that was cancelled."""
        inside = {key.rpartition("@")[0] for key in self.entries if "@" in key}
        answered = all(entry.status != "open" for entry in self.entries.values())
        return answered and not self.dropped and inside <= self.entries.keys()


@dataclass
class Driver:
    """Gives people's answers and decisions, from a process that executes nothing."""

    app: App
    outside: Errands
    workers: Workers
    worker: Worker
    repeated: Counter[str] = field(default_factory=Counter[str])
    """Tags of effects that were decided to be tried again."""

    async def until_ended(self, interrupt: Callable[[Worker], Worker] | None = None) -> None:
        """Decide and interrupt until all runs have ended.

        Raises:
            Stuck: some have not.
        """
        state: Any = None
        changed = time.monotonic()
        while True:
            found = await self.app.database.read(_state)
            if found != state:
                state, changed = found, time.monotonic()
            live = [run for run, status in found[0] if status in LIVE]
            failed = await self.decide()
            if not live and not failed:
                return
            if time.monotonic() - changed > STUCK_S:
                raise Stuck(live)
            if interrupt is not None:
                self.worker = interrupt(self.worker)
            await asyncio.sleep(0.02)

    async def decide(self) -> bool:
        """Answer questions, decide on lost calls, resume runs that were killed too often; whether one was resumed."""
        engine = self.app.engine
        asked, crashed = await self.app.database.read(_asked)
        for run_id, key, kind, request in asked:
            with suppress(Conflict):  # it has gone on meanwhile
                if kind == "in_doubt":
                    await self._settle(run_id, key)
                elif kind == "approval":
                    await engine.decide(run_id, "approve", key=key, via="test")
                else:
                    answer = json.dumps({"tag": request["prompt"], "n": 0})
                    await engine.decide(run_id, "answer", value=answer, key=key, via="test")
        for run_id in crashed:
            await engine.resume(run_id, via="test")
        return bool(crashed)

    async def _settle(self, run_id: str, key: str) -> None:
        def first(connection: sqlite3.Connection) -> Any:
            sql = """SELECT key, request FROM waits WHERE run_id = ? AND kind = 'in_doubt' AND status = 'open'
                     ORDER BY opened_at, key"""
            return connection.execute(sql, (run_id,)).fetchone()

        row = await self.app.database.read(first)
        if row is None or row["key"] != key:
            return
        tag = json.loads(row["request"])["context"]["arguments"]["url"].rsplit("/", 1)[1]
        done = self.outside.answers.get(tag)
        if done is not None:
            await self.app.engine.resume(run_id, "value", value=json.dumps(done), via="test")
        else:
            self.repeated[tag] += 1
            await self.app.engine.resume(run_id, "retry", via="test")

    async def ended(self) -> dict[str, Ended]:
        """Return all runs with their journals."""
        return await self.app.database.read(read_runs)

    async def run_again(self) -> None:
        """Make all runs begin anew, with their journals, each by itself."""
        sql = """UPDATE runs SET status = 'pending', output = NULL, error = NULL, reason = NULL, finished_at = NULL,
                 crashes = 0, cancel_reason = NULL, parent_id = NULL"""
        await self.app.database.write(lambda c: c.execute(sql).rowcount)


def read_runs(connection: sqlite3.Connection) -> dict[str, Ended]:
    """Return all runs with their journals, as they stand."""
    found: dict[str, Ended] = {}
    for row in connection.execute("SELECT id, workflow, parent_id, status, output, error FROM runs").fetchall():
        lines = timeline.list_logs(connection, row["id"], 0, 100_000)
        found[row["id"]] = Ended(
            row["id"],
            row["workflow"],
            row["parent_id"],
            row["status"],
            row["output"],
            json.loads(row["error"]) if row["error"] else None,
            {entry.key: entry for entry in journal.list_calls(connection, row["id"], 0, -1)},
            [(line[1], line[3]) for line in lines],
            timeline.list_events(connection, row["id"], 0, -1),
        )
    return found


def _state(connection: sqlite3.Connection) -> tuple[list[tuple[str, str]], int, int]:
    rows = connection.execute("SELECT id, status FROM runs ORDER BY id").fetchall()
    entries = connection.execute("SELECT count(*), count(delivery) + count(finished_at) FROM journal").fetchone()
    return [(row["id"], row["status"]) for row in rows], entries[0], entries[1]


def _asked(connection: sqlite3.Connection) -> tuple[list[tuple[str, str, str, Any]], list[str]]:
    sql = """SELECT run_id, key, kind, request FROM waits JOIN runs ON runs.id = run_id
             WHERE waits.status = 'open' AND kind IN ('input', 'approval', 'in_doubt') ORDER BY waits.opened_at, key"""
    asked = [(row["run_id"], row["key"], row["kind"], json.loads(row["request"])) for row in connection.execute(sql)]
    crashed = """SELECT id FROM runs WHERE status = 'dead'
                 OR status = 'failed' AND json_extract(error, '$.type') IN ('GuestCrashed', 'LimitExceeded')"""
    return asked, [row["id"] for row in connection.execute(crashed)]


@asynccontextmanager
async def driving(home: Path, outside: Errands, workers: Workers) -> AsyncGenerator[Driver, None]:
    """Open a home with one worker; whichever it is at the end is killed."""
    async with open_app(home, execute=False) as app:
        driver = Driver(app, outside, workers, workers.open(home))
        try:
            yield driver
        finally:
            driver.worker.end()


def check_effects(outside: Errands, repeated: Counter[str]) -> list[str]:
    """Return effects that happened more often than was decided."""
    return [f"{tag} happened {n} times" for tag, n in outside.effects.items() if n > 1 + repeated[tag]]


def check_deliveries(run: Ended) -> list[str]:
    """Return what is wrong with the order in which outcomes were delivered."""
    deliveries = sorted(entry.delivery for entry in run.entries.values() if entry.delivery)
    return [] if deliveries == list(range(1, len(deliveries) + 1)) else [f"deliveries {deliveries}"]
