"""One workflow with every kind of call, killed before and after every one of its commits.

The small form, in every run of the tests, takes some of the places; `-m exhaustive` takes all of them.
"""

import asyncio
import json
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from durability.driving import Driver, Ended, Errands, check_deliveries, check_effects, driving, read_runs
from durability.scenarios.staging import CONFIG
from stepwell.engine import StartOptions
from support.commits import watching
from support.server import make_home
from support.workers import Workers

KID = """
import asyncio
import json

def run(ctx, base: str):
    got = json.loads(tools.curl.post(url=base + "/effect/kid", json={}))["tag"]
    return [got, ctx.step("inner", lambda: "inner")]
"""
SOURCE = """
import asyncio, json

def look(base, tag):
    return json.loads(tools.fetch(url=f"{base}/r/{tag}"))["tag"]

def pay(base, tag):
    return json.loads(tools.curl.post(url=f"{base}/effect/{tag}", json={}))["tag"]

def flaky(base, tag):
    pay(base, tag)
    if json.loads(tools.fetch(url=f"{base}/r/{tag}"))["count"] < 2:
        raise ValueError(tag)
    return tag

async def branch(ctx, base, name):
    first = await ctx.step(look, base, name + "1")
    return [first, await ctx.step(pay, base, name + "2")]

async def run(ctx, base: str):
    got = [await ctx.step(look, base, "first")]
    got.append(json.loads(tools.curl.post(url=base + "/effect/body", json={}))["tag"])
    got.append(json.loads(tools.fetch(url=base + "/r/read"))["tag"])
    got += await ctx.parallel(branch(ctx, base, "a"), branch(ctx, base, "b"))
    got.append(await ctx.invoke("kid", base=base))
    await ctx.sleep(0.03)
    racers = [asyncio.create_task(ctx.step(look, base, name), name=name) for name in ("x", "y")]
    done, _ = await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
    winners = sorted(task.get_name() for task in done)
    await ctx.step("winners", lambda x: x, winners)  # another one on a replay would be another call
    got.append(sorted(await asyncio.gather(*racers)))
    got.append(await ctx.step(flaky, base, "flaky", retries=2, retry_delay=0.01))
    artifacts.save("kept", {"got": got})
    got.append(await ctx.step("gate", requires_approval=True)("through"))
    return got
"""
OUTPUT = [
    "first", "body", "read", ["a1", "a2"], ["b1", "b2"], ["kid", "inner"], ["x", "y"], "flaky", "through",
]  # fmt: skip
EFFECTS = {"body", "a2", "b2", "kid", "flaky"}


@dataclass(frozen=True, slots=True)
class Killed:
    """What was there when the worker was killed."""

    runs: dict[str, Ended]
    reads: dict[str, int]


async def kill_at(driver: Driver, home: Path, k: int, form: str) -> bool:
    """Run the workflow with a kill at the k-th change of the store; False if it came to its end before."""
    with Errands(random.Random(k)).serving() as outside:
        assert isinstance(outside, Errands)
        driver.outside = outside
        return await live(driver, home, k, form)


async def live(driver: Driver, home: Path, k: int, form: str) -> bool:
    run_id = f"r{k}"
    driver.repeated.clear()
    killed = None

    def own(found: dict[str, Ended]) -> dict[str, Ended]:
        return {one.id: one for one in found.values() if run_id in (one.id, one.parent_id)}

    with watching(home) as commits:
        await driver.app.engine.start("flow", {"base": driver.outside.url}, StartOptions(run_id=run_id))

        def over() -> bool:
            (row,) = commits.read("SELECT status FROM runs WHERE id = ?", run_id)
            return row["status"] not in ("pending", "running")

        seen = sum(commits.wait_next(unless=over) for _ in range(k))
        if seen == k:
            if form == "after":
                driver.worker.end()
            else:
                with commits.held():
                    # It goes on as far as it can without another commit.
                    await asyncio.sleep(0.04)
                    driver.worker.end()
            killed = Killed(own(commits.apply(read_runs)), dict(driver.outside.reads))
            driver.worker = driver.workers.open(home)
    await driver.until_ended()
    check(run_id, own(await driver.ended()), driver, killed)
    return killed is not None


def check(run_id: str, ended: dict[str, Ended], driver: Driver, killed: Killed | None) -> None:
    run = ended[run_id]
    assert run.status == "completed", run.error
    assert run.output is not None
    assert json.loads(run.output) == OUTPUT
    assert len(ended) == 2
    # Each effect once, or as often as was decided where nobody could know.
    assert not check_effects(driver.outside, driver.repeated)
    assert driver.outside.effects.keys() == EFFECTS
    for one in ended.values():
        assert not check_deliveries(one)
        assert all(entry.status in ("ok", "error", "retry") for entry in one.entries.values())
        done = [event.data["step"] for event in one.events if event.type == "step.completed"]
        steps = [entry.name for entry in one.entries.values() if entry.kind == "step" and entry.status == "ok"]
        assert sorted(done) == sorted(steps), "a step was recorded twice"
    if killed is not None:
        check_kept(ended, driver, killed)


def check_kept(ended: dict[str, Ended], driver: Driver, killed: Killed) -> None:
    """Check that what was on disk at the kill is there as it was, and was not done again."""
    for run_id, before in killed.runs.items():
        after = ended[run_id]
        for key, entry in before.entries.items():
            if entry.status in ("ok", "error", "retry"):
                now = after.entries[key]
                assert (now.seq, now.label, now.status, now.value, now.error, now.finished_at) == (
                    entry.seq, entry.label, entry.status, entry.value, entry.error, entry.finished_at,
                )  # fmt: skip
                assert entry.delivery in (None, now.delivery)
                if entry.kind == "step" and entry.status == "ok" and entry.name == "look":
                    tag = json.loads(entry.value or b"")
                    assert driver.outside.reads[tag] == killed.reads[tag], f"{tag} was read again"


@asynccontextmanager
async def stage(home: Path, workers: Workers) -> AsyncGenerator[Driver, None]:
    with Errands(random.Random(0)).serving() as outside:
        assert isinstance(outside, Errands)
        async with driving(make_home(home, CONFIG), outside, workers) as driver:
            await driver.app.catalog.create("kid", KID)
            await driver.app.catalog.create("flow", SOURCE)
            yield driver


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize("form", ["after", "before"])
async def test_scenario_11_and_10_kills_around_some_commits_lose_and_repeat_nothing(
    tmp_path: Path, workers: Workers, form: str
):
    home = tmp_path / "home"
    async with stage(home, workers) as driver:
        for k in (5, 9, 14) if form == "after" else (7, 11, 17):
            await kill_at(driver, home, k, form)


SHARDS = 6


@pytest.mark.exhaustive
@pytest.mark.asyncio
@pytest.mark.parametrize("form", ["after", "before"])
@pytest.mark.parametrize("shard", range(SHARDS))
async def test_scenario_11_and_10_kills_around_every_commit_lose_and_repeat_nothing(
    tmp_path: Path, workers: Workers, form: str, shard: int
):
    home = tmp_path / "home"
    k = shard + 1
    async with stage(home, workers) as driver:
        while await kill_at(driver, home, k, form):
            k += SHARDS
    assert k > 15
