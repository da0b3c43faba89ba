"""Random programs, interrupted at random: no work is lost or repeated, and each replays to what it was.

Many programs run at the same time in one home, so that each kill of its holder interrupts all of them. More of
them, with other seeds: `STEPWELL_PROGRAMS=5000 STEPWELL_PROGRAMS_SEED=7 pytest tests/durability/test_programs.py`.
What a seed generates is the same each time; when it is interrupted depends on the machine.
"""

import asyncio
import json
import os
import random
import re
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from durability.driving import CONFIG, Driver, Ended, Errands, Stuck, check_deliveries, check_effects, driving
from durability.programs import Program, generate
from stepwell.engine import StartOptions
from support.server import make_home
from support.workers import Worker, Workers

COUNT = int(os.environ.get("STEPWELL_PROGRAMS", "100"))
SEED = os.environ.get("STEPWELL_PROGRAMS_SEED", "1")
FIRST = 30  # programs in every run of the tests; the others are exhaustive
BATCH = 35
INTERRUPTIONS = 6  # of each batch
SERIAL = ("size", "artifacts.save", "curl.post")  # steps and calls that are given serial numbers, or times
STATE = tuple(f"{scope}.{op}" for scope in ("run", "session", "user") for op in ("get", "keys", "read", "swap"))
"""Calls whose value is what another branch has written, or not yet."""
EACH_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[T ][\d:.+]+|\d\d:\d\d:\d\d|[0-9a-f]{8}(-[0-9a-f]{4}-[0-9a-f-]{22})?"
    r"|end \d+|\"(n|count)\\*\": \d+"
)
KINDS = ("kill", "kill", "kill", "overlap", "close", "guest")


class Interruptions:
    """Ends the worker, or one of its guests, after random numbers of requests."""

    def __init__(self, home: Path, workers: Workers, outside: Errands, rng: random.Random, programs: int) -> None:
        self._home = home
        self._workers = workers
        self._outside = outside
        self._rng = rng
        self._programs = programs
        self._left = INTERRUPTIONS
        self._next = self._draw()

    def interrupt(self, worker: Worker) -> Worker:
        """Interrupt if it is time; return the worker that goes on."""
        if not self._left or self._outside.requests < self._next:
            return worker
        self._left -= 1
        time.sleep(self._rng.uniform(0, 0.02))
        how = self._rng.choice(KINDS)
        if how == "guest":
            self._kill_guest(worker)
            fresh = worker
        elif how == "overlap":
            fresh = self._workers.open(self._home)
            worker.end()
        else:
            worker.end(signal.SIGTERM if how == "close" else signal.SIGKILL)
            fresh = self._workers.open(self._home)
        self._next = self._draw()
        return fresh

    def _kill_guest(self, worker: Worker) -> None:
        """Kill a process that runs a workflow, or is kept ready for one, if there is any."""
        if guests := [pid for pid in _descendants(worker.pid) if not _children(pid)]:
            with suppress(ProcessLookupError):
                os.kill(self._rng.choice(guests), signal.SIGKILL)

    def _draw(self) -> int:
        return self._outside.requests + self._rng.randint(1, 4 * self._programs)


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


def _descendants(pid: int) -> list[int]:
    return [found for child in _children(pid) for found in (child, *_descendants(child))]


async def start(driver: Driver, programs: Iterable[Program]) -> None:
    """Store and start programs."""
    for program in programs:
        for name, source in program.children.items():
            await driver.app.catalog.create(name, source)
        name = f"program_{program.seed.replace('-', '_')}"
        await driver.app.catalog.create(name, program.source)
        arguments = {"base": driver.outside.url, "p": program.seed}
        await driver.app.engine.start(name, arguments, StartOptions(run_id=program.seed))


async def execute(home: Path, workers: Workers, programs: list[Program], rng: random.Random) -> list[str]:
    """Run programs with interruptions and without, check what comes of them; return what is wrong."""
    wrong: list[str] = []
    undisturbed = home.with_name("undisturbed")
    with Errands(rng).serving() as outside:
        assert isinstance(outside, Errands)
        async with driving(make_home(home, CONFIG), outside, workers) as driver:
            try:
                await start(driver, programs)
                await driver.until_ended(Interruptions(home, workers, outside, rng, len(programs)).interrupt)
                first = await driver.ended()
                wrong += [f"{run.id}: {what}" for run in first.values() for what in check_run(run)]
                wrong += check_effects(outside, driver.repeated)
                wrong += await replay(driver, first)
            except Stuck as stuck:
                return [*wrong, *(f"{run}: hangs" for run in stuck.args[0])]
        alike = {program.seed: program for program in programs if not program.racy}
        async with driving(make_home(undisturbed, CONFIG), outside, workers) as driver:
            await start(driver, programs)
            await driver.until_ended()
            for run in (await driver.ended()).values():
                program = alike.get(run.id.partition(".")[0])
                if program is not None:
                    wrong += [f"{run.id}: {what}" for what in check_undisturbed(run, first.get(run.id), program)]
    return wrong


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
    wrong += check_deliveries(run)
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


def check_undisturbed(run: Ended, interrupted: Ended | None, program: Program) -> list[str]:
    """Return how an interrupted run differs from one of the same program that nothing has happened to.

    Serial numbers, times and ids are others each time. The order in which things happened is compared where the
    program does one after the other.
    """
    if interrupted is None or run.keys != interrupted.keys:
        found = set[str]() if interrupted is None else interrupted.keys
        return [f"undisturbed it has other keys: {sorted(run.keys ^ found)}"]
    wrong: list[str] = []
    if (run.status, (run.error or {}).get("type")) != (interrupted.status, (interrupted.error or {}).get("type")):
        wrong.append(f"undisturbed it ends as {run.status}, not as {interrupted.status}")
    for key in run.keys:
        was, now = run.entries[key], interrupted.entries[key]
        if (was.kind, was.name, was.status) != (now.kind, now.name, now.status):
            wrong.append(f"undisturbed {key} is {was.label} {was.status}, not {now.label} {now.status}")
        elif not (program.concurrent and (was.kind == "child" or was.name in STATE)) and _bare(was.value) != _bare(
            now.value
        ):
            wrong.append(f"undisturbed the value of {key} is {was.value!r}, not {now.value!r}")
        elif was.digest != now.digest and not program.concurrent and was.name not in SERIAL and not _is_text(was.value):
            wrong.append(f"undisturbed {key} is {was.label}, not {now.label}")
    if not program.concurrent and [k for k in run.delivered if k in run.keys] != [
        k for k in interrupted.delivered if k in run.keys
    ]:
        wrong.append(f"undisturbed the order is {run.delivered}, not {interrupted.delivered}")
    if not program.concurrent and _bare(run.output) != _bare(interrupted.output):
        wrong.append(f"undisturbed it gives {run.output!r}, not {interrupted.output!r}")
    return wrong


def _bare(value: bytes | None) -> Any:
    """Return a value without what is another one each time."""
    return None if value is None else _blank(json.loads(value))


def _blank(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _blank(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_blank(item) for item in value]
    if isinstance(value, str):
        return EACH_TIME.sub("?", value)
    return 0 if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _is_text(value: bytes | None) -> bool:
    return value is not None and value.startswith(b'"')


def _difference(run: Ended, again: Ended) -> str:
    if run.output is None or again.output is None:
        return str((again.error or {}).get("message"))
    was, now = json.loads(run.output)["seen"], json.loads(again.output)["seen"]
    n = next((n for n, (a, b) in enumerate(zip(was, now, strict=False)) if a != b), min(len(was), len(now)))
    return f"seen[{n}:] was {str(was[n : n + 3])[:400]}, is {str(now[n : n + 3])[:400]}"


def batches(count: int) -> list[Any]:
    """Seeds in batches, the first for every run of the tests and the others for the exhaustive one."""
    seeds = [f"{SEED}-{n}" for n in range(count)]
    starts = [0, *range(FIRST, count, BATCH)]
    return [
        pytest.param(seeds[n:end], id=seeds[n], marks=[pytest.mark.exhaustive] if n else [])
        for n, end in zip(starts, (*starts[1:], count), strict=True)
    ]


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize("seeds", batches(COUNT))
async def test_programs_that_are_interrupted_at_random_end_as_their_journals_say(
    tmp_path: Path, workers: Workers, seeds: list[str]
):
    programs = [generate(seed) for seed in seeds]
    async with asyncio.timeout(600):
        wrong = await execute(tmp_path / "home", workers, programs, random.Random(seeds[0]))
    assert not wrong, report(programs, wrong)


def report(programs: list[Program], wrong: list[str]) -> str:
    sources = [
        f"--- {program.seed}\n{program.source}"
        for program in programs
        if any(w.startswith(program.seed) for w in wrong)
    ]
    return "\n".join((*wrong, *sources[:3]))
