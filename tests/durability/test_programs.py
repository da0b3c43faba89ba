"""Random programs, interrupted at random: no work is lost or repeated, and each replays to what it was.

Many programs run at the same time in one home, so that each kill of its holder interrupts all of them. More of
them, with other seeds: `STEPWELL_PROGRAMS=5000 STEPWELL_PROGRAMS_SEED=7 pytest tests/durability/test_programs.py`.
What a seed generates is the same each time; when it is interrupted depends on the machine.
"""

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from durability.programs import Program, generate
from stepwell.engine import StartOptions
from stepwell.errors import Conflict
from stepwell.model import LIVE
from stepwell.store import journal, timeline
from stepwell.store.journal import Entry
from stepwell_server.app import App, open_app
from support.outside import Outside
from support.server import LOCAL_HTTP, make_home

COUNT = int(os.environ.get("STEPWELL_PROGRAMS", "60"))
SEED = os.environ.get("STEPWELL_PROGRAMS_SEED", "1")
BATCH = 30
INTERRUPTIONS = 6  # of each batch
CONFIG = LOCAL_HTTP + "[workers]\nconcurrency = 32\n"
STUCK_S = 15.0  # without any change of any run
HOLD = """
import asyncio, signal, sys
from stepwell_server import Session

async def hold():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with Session(sys.argv[1]):
        await stop.wait()

if sys.stdin.readline():
    asyncio.run(hold())
"""


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


class Holder:
    """A process that works on the runs of a home. It is started early and opens the home when it is told to."""

    def __init__(self, home: Path) -> None:
        command = [sys.executable, "-c", HOLD, str(home)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)

    def open(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("open\n")
        self._process.stdin.flush()

    def end(self, number: int) -> None:
        assert self._process.stdin is not None
        self._process.send_signal(number)
        self._process.stdin.close()
        assert self._process.wait(30) in (0, -signal.SIGKILL, -signal.SIGTERM)

    def kill_guest(self, rng: random.Random) -> None:
        """Kill a process that runs a workflow, or is kept ready for one, if there is any."""
        if guests := [pid for pid in _descendants(self._process.pid) if not _children(pid)]:
            with suppress(ProcessLookupError):
                os.kill(rng.choice(guests), signal.SIGKILL)


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


def _descendants(pid: int) -> list[int]:
    return [found for child in _children(pid) for found in (child, *_descendants(child))]


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
    dropped: bool
    """Whether a branch was cancelled, or the run ended, while a call was under way: a replay makes that one again."""

    @property
    def keys(self) -> set[str]:
        """The keys outside of attempts, whose number depends on what was read twice."""
        return {key for key in self.entries if "@" not in key and "!" not in key}

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
    holder: Holder
    repeated: Counter[str] = field(default_factory=Counter[str])
    """Tags of effects that were decided to be tried again."""

    async def start(self, programs: Iterable[Program]) -> None:
        """Store and start programs, and let the holder begin."""
        self.holder.open()
        for program in programs:
            for name, source in program.children.items():
                await self.app.catalog.create(name, source)
            name = f"program_{program.seed.replace('-', '_')}"
            await self.app.catalog.create(name, program.source)
            arguments = {"base": self.outside.url, "p": program.seed}
            await self.app.engine.start(name, arguments, StartOptions(run_id=program.seed))

    async def until_ended(self, interruptions: "Interruptions | None" = None) -> None:
        """Decide and interrupt until all runs have ended."""
        state: Any = None
        changed = time.monotonic()
        while True:
            found = await self.app.database.read(_state)
            if found != state:
                state, changed = found, time.monotonic()
            live = [run for run, status in found[0] if status in LIVE]
            failed = await self._decide()
            if not live and not failed:
                return
            if time.monotonic() - changed > STUCK_S:
                raise Stuck(live)
            if interruptions is not None:
                self.holder = interruptions.interrupt(self.holder, self.outside.requests)
            await asyncio.sleep(0.02)

    async def _decide(self) -> bool:
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

        def read(connection: sqlite3.Connection) -> dict[str, Ended]:
            found: dict[str, Ended] = {}
            for row in connection.execute("SELECT id, workflow, parent_id, status, output, error FROM runs"):
                entries = {entry.key: entry for entry in journal.list_calls(connection, row["id"], 0, -1)}
                lines = timeline.list_logs(connection, row["id"], 0, 100_000)
                error = json.loads(row["error"]) if row["error"] else None
                logs = [(line[1], line[3]) for line in lines]
                dropped = _given_up(timeline.list_events(connection, row["id"], 0, -1))
                found[row["id"]] = Ended(
                    row["id"],
                    row["workflow"],
                    row["parent_id"],
                    row["status"],
                    row["output"],
                    error,
                    entries,
                    logs,
                    dropped,
                )
            return found

        return await self.app.database.read(read)

    async def run_again(self) -> None:
        """Make all runs begin anew, with their journals, each by itself."""
        sql = """UPDATE runs SET status = 'pending', output = NULL, error = NULL, reason = NULL, finished_at = NULL,
                 crashes = 0, cancel_reason = NULL, parent_id = NULL"""
        await self.app.database.write(lambda c: c.execute(sql).rowcount)


def _given_up(events: list[timeline.EventRow]) -> bool:
    started = {event.data["key"] for event in events if event.type == "call.started"}
    ended = {event.data["key"] for event in events if event.type in ("call.completed", "call.failed")}
    return bool(started - ended) or any(event.type == "call.dropped" for event in events)


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


class Interruptions:
    """Ends the holder, or one of its guests, after random numbers of requests."""

    def __init__(self, home: Path, rng: random.Random, programs: int, times: int) -> None:
        self._home = home
        self._rng = rng
        self._programs = programs
        self.left = times
        self._spare: Holder | None = Holder(home)
        self._next = self._draw(0)

    def interrupt(self, holder: Holder, requests: int) -> Holder:
        """Interrupt if it is time; return the holder that goes on."""
        if not self.left or requests < self._next:
            return holder
        self.left -= 1
        self._next = self._draw(requests)
        time.sleep(self._rng.uniform(0, 0.02))
        how = self._rng.choice(KINDS)
        if how == "guest":
            holder.kill_guest(self._rng)
            return holder
        fresh = self._spare
        assert fresh is not None
        if how == "overlap":
            fresh.open()
        holder.end(signal.SIGTERM if how == "close" else signal.SIGKILL)
        if how != "overlap":
            fresh.open()
        self._spare = Holder(self._home)
        return fresh

    def close(self) -> None:
        if self._spare is not None:
            self._spare.end(signal.SIGKILL)

    def _draw(self, requests: int) -> int:
        return requests + self._rng.randint(1, 4 * self._programs)


KINDS = ("kill", "kill", "kill", "overlap", "close", "guest")


@asynccontextmanager
async def driving(home: Path, outside: Errands) -> AsyncGenerator[Driver, None]:
    async with open_app(home, execute=False) as app:
        driver = Driver(app, outside, Holder(home))
        try:
            yield driver
        finally:
            driver.holder.end(signal.SIGKILL)


async def execute(home: Path, programs: list[Program], rng: random.Random, times: int) -> list[str]:
    """Run programs with interruptions and without, check what comes of them; return what is wrong."""
    wrong: list[str] = []
    with Errands(rng).serving() as outside:
        assert isinstance(outside, Errands)
        async with driving(make_home(home, CONFIG), outside) as driver:
            interruptions = Interruptions(home, rng, len(programs), times)
            try:
                await driver.start(programs)
                await driver.until_ended(interruptions)
                first = await driver.ended()
                wrong += [f"{run.id}: {what}" for run in first.values() for what in check_run(run)]
                wrong += check_effects(outside, driver.repeated)
                wrong += await replay(driver, first)
            except Stuck as stuck:
                return [*wrong, *(f"{run}: hangs" for run in stuck.args[0])]
            finally:
                interruptions.close()
        racy = {program.seed for program in programs if program.racy}
        async with driving(make_home(home.with_name("undisturbed"), CONFIG), outside) as driver:
            await driver.start(programs)
            await driver.until_ended()
            for run in (await driver.ended()).values():
                if run.id.partition(".")[0] not in racy and run.keys != (found := _keys(first.get(run.id))):
                    wrong.append(f"{run.id}: undisturbed it has other keys: {sorted(run.keys ^ found)}")
    return wrong


def _keys(run: Ended | None) -> set[str]:
    return set() if run is None else run.keys


async def replay(driver: Driver, first: dict[str, Ended]) -> list[str]:
    """Let all runs begin anew with their journals; return how they differ from what they were."""
    outside, wrong = driver.outside, list[str]()
    asked = outside.asked.copy()
    await driver.run_again()
    await driver.until_ended()
    again = await driver.ended()
    for run in first.values():
        # A child's requests begin with the tag of the call that invoked it, which is its parent's.
        new = {tag for tag, n in outside.asked.items() if n > asked[tag] and tag.startswith(run.id + ".")}
        if any(child.dropped for child in first.values() if child.id.startswith(run.id + ".")):
            new = set()  # what its children have given up they ask for again
        wrong += [f"{run.id}: {what}" for what in check_again(run, again[run.id], new)]
    return wrong


def check_run(run: Ended) -> list[str]:
    """Return what is wrong with a run that has ended."""
    wrong: list[str] = []
    if run.given_up:
        return wrong
    error = run.error or {}
    own = error.get("type") == "RuntimeError" and error["message"].startswith("end ")
    if run.status != "completed" and not (run.status == "failed" and own):
        wrong.append(f"ended as {run.status}: {error.get('type')}: {error.get('message')}")
    deliveries = sorted(entry.delivery for entry in run.entries.values() if entry.delivery)
    if deliveries != list(range(1, len(deliveries) + 1)):
        wrong.append(f"deliveries {deliveries}")
    ran: dict[str, float] = {}
    for at, line in run.logs:
        if line.startswith("ran "):
            ran[line[4:]] = max(at, ran.get(line[4:], 0))
    for entry in run.entries.values():
        if entry.kind == "step" and entry.status == "ok" and entry.value and entry.value.startswith(b'{"tag":'):
            tag = json.loads(entry.value)["tag"]
            if tag in ran and ran[tag] > (entry.finished_at or 0):
                wrong.append(f"the step {entry.key} ran again after it was finished")
    return wrong


def check_effects(outside: Errands, repeated: Counter[str]) -> list[str]:
    """Return effects that happened more often than was decided."""
    return [f"{tag} happened {n} times" for tag, n in outside.effects.items() if n > 1 + repeated[tag]]


def check_again(run: Ended, again: Ended, requests: set[str]) -> list[str]:
    """Return how a replay of a run that has ended differs from it."""
    wrong: list[str] = []
    if run.given_up:
        return wrong
    if (run.status, run.output) != (again.status, again.output):
        wrong.append(f"ended as {run.status}, replayed as {again.status}: {_difference(run, again)}")
    kept = ("type", "message")
    if (
        run.error
        and again.error != run.error
        and [run.error[k] for k in kept] != [(again.error or {}).get(k) for k in kept]
    ):
        wrong.append(f"failed with {run.error}, and replayed with {again.error}")
    if run.settled:
        if requests:
            wrong.append(f"the replay asked outside for {sorted(requests)}")
        if run.entries != again.entries:
            new = sorted(again.entries.keys() - run.entries.keys())
            other = [key for key in run.entries if again.entries.get(key) != run.entries[key]]
            wrong.append(f"the replay wrote new entries {new} and changed {other}")
    else:
        for key, entry in run.entries.items():
            if entry.status in ("ok", "error") and again.entries[key].value != entry.value:
                wrong.append(f"the replay changed the value of {key}")
    return wrong


def _difference(run: Ended, again: Ended) -> str:
    if run.output is None or again.output is None:
        return str((again.error or {}).get("message"))
    was, now = json.loads(run.output)["seen"], json.loads(again.output)["seen"]
    n = next((n for n, (a, b) in enumerate(zip(was, now, strict=False)) if a != b), min(len(was), len(now)))
    return f"seen[{n}:] was {str(was[n : n + 3])[:400]}, is {str(now[n : n + 3])[:400]}"


def batches(count: int) -> list[Any]:
    """Seeds in batches, the first for every run of the tests and the others for the exhaustive one."""
    seeds = [f"{SEED}-{n}" for n in range(count)]
    return [
        pytest.param(seeds[n : n + BATCH], id=seeds[n], marks=[pytest.mark.exhaustive] if n else [])
        for n in range(0, count, BATCH)
    ]


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize("seeds", batches(COUNT))
async def test_programs_that_are_interrupted_at_random_end_as_their_journals_say(tmp_path: Path, seeds: list[str]):
    programs = [generate(seed) for seed in seeds]
    async with asyncio.timeout(600):
        wrong = await execute(tmp_path / "home", programs, random.Random(seeds[0]), INTERRUPTIONS)
    assert not wrong, report(programs, wrong)


def report(programs: list[Program], wrong: list[str]) -> str:
    sources = [
        f"--- {program.seed}\n{program.source}"
        for program in programs
        if any(w.startswith(program.seed) for w in wrong)
    ]
    return "\n".join((*wrong, *sources[:3]))
