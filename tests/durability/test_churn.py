"""Many runs while everything that works on them is killed at random: right results, effects as promised, no remains.

`STEPWELL_CHURN=10000 STEPWELL_CHURN_SEED=7 pytest -m "exhaustive or not exhaustive" tests/durability/test_churn.py`
makes so many runs. A seed chooses what is killed and how long after the kill before; what it meets depends on the
machine.
"""

import asyncio
import json
import os
import random
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from durability.churn import Kills, below, descendants, descriptors, mounts
from durability.driving import CONFIG, Driver, Ended, Errands, Stuck, check_deliveries, check_effects, driving
from stepwell.engine import StartOptions
from stepwell.errors import Conflict
from stepwell.model import LIVE
from stepwell_sandbox.sandbox import ConfinedSandbox
from stepwell_server import Session
from support.server import make_home
from support.workers import Worker, Workers

COUNT = int(os.environ.get("STEPWELL_CHURN", "300"))
SEED = os.environ.get("STEPWELL_CHURN_SEED", "1")
FIRST = 60  # runs in every run of the tests; the others are exhaustive
BATCH = 500
AT_ONCE = 60
POOL = 2  # of CONFIG
PATIENCE_S = 60.0

HEAD = """
import json

def effect(base, tag):
    answer = tools.http.request("POST", f"{base}/effect/{tag}", json={"tag": tag})
    # What somebody decided that the answer was is text.
    return (json.loads(answer) if isinstance(answer, str) else answer["json"])["tag"]

def read(base, tag):
    return json.loads(tools.fetch(url=f"{base}/read/{tag}"))["tag"]
"""
SOURCES = {
    "plain": HEAD
    + """
def run(base: str, p: str) -> list:
    return [read(base, p + ".a"), effect(base, p + ".b"), effect(base, p + ".c"), read(base, p + ".d")]
""",
    "stepped": HEAD
    + """
async def run(ctx, base: str, p: str) -> list:
    first = await ctx.step("first", effect, base, p + ".a", retries=1)
    await ctx.sleep(0.01)
    both = await ctx.parallel(ctx.step("b", effect, base, p + ".b"), ctx.step("c", effect, base, p + ".c"))
    return [first, *both, await ctx.step("last", read, base, p + ".d")]
""",
    "parent": HEAD
    + """
async def run(ctx, base: str, p: str) -> list:
    inner = await ctx.invoke("plain", base=base, p=p + ".x")
    return [await ctx.step("own", effect, base, p + ".a"), *inner]
""",
}
EXPECTED = {
    "plain": [".a", ".b", ".c", ".d"],
    "stepped": [".a", ".b", ".c", ".d"],
    "parent": [".a", ".x.a", ".x.b", ".x.c", ".x.d"],
}
EFFECTS = {"plain": (".b", ".c"), "stepped": (".a", ".b", ".c"), "parent": (".a", ".x.b", ".x.c")}


CHILD_FAILED = "SELECT id FROM runs WHERE status = 'failed' AND json_extract(error, '$.type') = 'ChildFailed'"


class Churn:
    """Keeps so many runs going until all of a batch have ended."""

    def __init__(self, driver: Driver, kills: Kills, tags: dict[str, str]) -> None:
        self.driver = driver
        self._kills = kills
        self._left = list(tags.items())
        self._live: set[str] = set()
        self._ended = 0
        self.resumed = 0

    async def until_ended(self) -> None:
        """Start, decide and kill.

        Raises:
            Stuck: nothing has ended for long.
        """
        changed = time.monotonic()
        while self._left or self._live:
            await self._start()
            if await self._look():
                changed = time.monotonic()
            if time.monotonic() - changed > 60:
                raise Stuck(sorted(self._live))
            await self.driver.decide()
            await self._resume_parents()
            self.driver.worker = self._kills.interrupt(self.driver.worker, self._ended)
            await asyncio.sleep(0.01)

    async def _start(self) -> None:
        while self._left and len(self._live) < AT_ONCE:
            tag, workflow = self._left.pop()
            arguments = {"base": self.driver.outside.url, "p": tag}
            await self.driver.app.engine.start(workflow, arguments, StartOptions(run_id=tag))
            self._live.add(tag)

    async def _resume_parents(self) -> None:
        """Resume runs whose children, or who with their children, were killed five times without progress."""
        failed = await self.driver.app.database.read(lambda c: [row[0] for row in c.execute(CHILD_FAILED)])
        for run_id in failed:
            with suppress(Conflict):
                await self.driver.app.engine.resume(run_id, via="test")
                self.resumed += 1

    async def _look(self) -> bool:
        marks = ",".join("?" * len(LIVE))
        sql = f"SELECT id FROM runs WHERE status IN ({marks}) OR status = 'dead' UNION {CHILD_FAILED}"
        live = await self.driver.app.database.read(lambda c: {row[0] for row in c.execute(sql, tuple(LIVE))})
        ended = self._live - live
        self._live -= ended
        self._ended += len(ended)
        return bool(ended)


def check(run: Ended, workflow: str, outside: Errands) -> list[str]:
    """Return what is wrong with a run that has ended."""
    wrong = check_deliveries(run)
    expected = [run.id + tag for tag in EXPECTED[workflow]]
    if run.status != "completed" or json.loads(run.output or b"null") != expected:
        wrong.append(f"ended as {run.status} with {run.output!r}, {run.error}")
    wrong += [f"the effect {tag} did not happen" for tag in EFFECTS[workflow] if not outside.effects[run.id + tag]]
    wrong += [f"it failed on its way: {event.data}" for event in run.events
              if event.type == "run.failed" and "ChildFailed" not in event.data["error"]]  # fmt: skip
    return wrong


async def execute(home: Path, workers: Workers, seed: str, count: int, kills_done: dict[str, int]) -> list[str]:
    """Run a batch and return what is wrong with it."""
    rng = random.Random(seed)
    tags = {f"r{seed}-{n}": rng.choice(tuple(SOURCES)) for n in range(count)}
    with Errands(rng).serving() as outside:
        assert isinstance(outside, Errands)
        async with driving(make_home(home, CONFIG), outside, workers) as driver:
            for name, source in SOURCES.items():
                await driver.app.catalog.create(name, source)
            kills = Kills(home, workers, rng)
            try:
                churn = Churn(driver, kills, tags)
                await churn.until_ended()
                kills.done["resumed after five deaths"] = churn.resumed
            except Stuck as stuck:
                return [f"{run}: hangs" for run in stuck.args[0]]
            finally:
                for name, times in kills.done.items():
                    kills_done[name] = kills_done.get(name, 0) + times
            found = await driver.ended()
            wrong = [f"{tag}: {what}" for tag, name in tags.items() for what in check(found[tag], name, outside)]
            wrong += check_effects(outside, driver.repeated)
            wrong += await remains_of_guests(driver.worker)
    return wrong


async def remains_of_guests(worker: Worker) -> list[str]:
    """Wait until no process of a server is a guest with work; return what is there beside those kept ready."""
    until = time.monotonic() + PATIENCE_S
    while len(guests := below(worker.pid)[1]) > POOL:
        if time.monotonic() > until:
            return [f"{len(guests)} guests are left without a run"]
        await asyncio.sleep(0.02)
    return []


async def open_at_rest(shared: ConfinedSandbox) -> int:
    """Return how many descriptors this process has open when the sandbox that tests share has its processes ready."""
    while shared.kept < POOL:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    return descriptors()


async def still_open(before: int, shared: ConfinedSandbox) -> int:
    """Return how many descriptors stay open that were not before."""
    until = time.monotonic() + PATIENCE_S
    while (more := await open_at_rest(shared) - before) > 0 and time.monotonic() < until:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    return max(0, more)


async def until_dead(pid: int) -> list[int]:
    """Return the processes below one that do not die."""
    until = time.monotonic() + PATIENCE_S
    while (left := descendants(pid)) and time.monotonic() < until:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    return left


def batches(count: int) -> list[Any]:
    """Sizes of batches, the first for every run of the tests and the others for the exhaustive one."""
    sizes = [FIRST, *[BATCH] * ((count - FIRST) // BATCH)]
    sizes += [rest] if (rest := count - sum(sizes)) > 0 else []
    return [
        pytest.param(f"{SEED}-{n}", size, id=f"{SEED}-{n}", marks=[pytest.mark.exhaustive] if n else [])
        for n, size in enumerate(sizes)
    ]


def is_probe(path: Path) -> bool:
    """Whether it is what Python writes to find out if a temporary directory can be used: a kill may come before it
    deletes that.
    """
    return len(path.name) == 8 and path.is_file() and path.read_bytes() in (b"", b"blat")


@pytest.mark.slow
@pytest.mark.own_sandbox
@pytest.mark.asyncio
@pytest.mark.parametrize(("seed", "count"), batches(COUNT))
async def test_runs_survive_random_kills_of_all_that_works_on_them(
    tmp_path: Path, seed: str, count: int, record_property: Any, shared_sandbox: tuple[ConfinedSandbox, Any]
):
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    shared, _ = shared_sandbox
    before, mounted = await open_at_rest(shared), mounts()
    kills: dict[str, int] = {}
    async with asyncio.timeout(900):
        with Workers(scratch) as workers:
            wrong = await execute(tmp_path / "home", workers, seed, count, kills)
            wrong += [f"the process {pid} outlived its server" for pid in await until_dead(workers.pid)]
            last = workers.open(tmp_path / "home")  # sweeps what the killed ones have left, and ends in order
            async with Session(tmp_path / "home") as session:
                assert (await session.run("plain", base="", p="")).error is not None
            while not below(last.pid)[1]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            last.end(15)
    print(f"{count} runs, kills: {kills}")
    record_property("kills", kills)
    wrong += [f"{path.name} is left" for path in scratch.iterdir() if not is_probe(path)]
    wrong += [f"mounted: {line}" for line in mounts() if line not in mounted]
    assert wrong == []
    assert await still_open(before, shared) == 0
