"""A burst of runs queues for memory: visibly, in its order, and without waiting for itself."""

import asyncio
from pathlib import Path
from typing import cast

import pytest

from stepwell.engine.memory import LEAST_BYTES, SPARE_BYTES, Memory
from stepwell.model import Run, RunStatus
from stepwell.model.sizes import MIB
from stepwell.ports import GuestProcess
from stepwell_sandbox.memory import available_bytes
from stepwell_server import Session
from stepwell_server.cli.doctor_memory import examine_memory
from stepwell_server.results import run_result
from support.outside import Outside
from support.server import LOCAL_HTTP, make_home

GATE = "def run(base, n):\n    return tools.fetch(url=f'{base}/gate/{n}')\n"
TREE = """
async def run(ctx, depth: int) -> int:
    if depth == 0:
        return 1
    first = await ctx.invoke("tree", depth=depth - 1)
    both = await ctx.parallel(ctx.invoke("tree", depth=depth - 1), ctx.invoke("tree", depth=0))
    return first + sum(both)
"""


def small(path: Path, budget: int, limit: int) -> Path:
    config = f'{LOCAL_HTTP}[workers]\nconcurrency = 50\nmemory_bytes = "{budget} MiB"\n'
    return make_home(path / "home", f'{config}[limits]\nmemory_bytes = "{limit} MiB"\n[sandbox]\npool = 0\n')


async def queued(session: Session, run: Run) -> Run:
    """Return a run when it says what it waits for."""
    while not (found := await session.get(run)).queued:  # noqa: ASYNC110  it is told by polling
        await asyncio.sleep(0.02)
    return found


@pytest.mark.asyncio
async def test_a_burst_queues_for_memory_and_says_so(tmp_path: Path, outside: Outside) -> None:
    async with asyncio.timeout(60), Session(small(tmp_path, 256, 128)) as session:
        await session.add_workflow("gate", GATE)
        runs = [await session.start("gate", base=outside.url, n=n) for n in range(6)]
        for n in (0, 1):
            await asyncio.to_thread(outside.wait_for_read, str(n))
        waiting = await queued(session, runs[2])

        assert [(await session.get(run)).status.value for run in runs] == ["running"] * 2 + ["pending"] * 4
        assert (waiting.queued or "").startswith("waiting for memory: the runs that are worked on count with 256 MiB")
        assert "Queued, waiting for memory" in run_result(waiting)["next"]
        listed = {run.id: run.queued for run in (await session.app.engine.list()).items}
        assert [bool(listed[run.id]) for run in runs] == [False] * 2 + [True] * 4
        (worker,) = await session.app.engine.workers()
        assert (worker.queue, worker.memory_bytes, worker.memory_budget) == ("memory", 256 * MIB, 256 * MIB)
        told = await examine_memory(session.app.home, session.app.settings)
        assert "may use 256 MiB together, 128 MiB each" in told[0].text
        assert [finding.text for finding in told[1:]] == [
            "runs are queued, waiting for memory: those under way count with 256 MiB"
        ]

        assert (await session.cancel(runs[3])).status is RunStatus.CANCELLED
        assert (await session.get(runs[3])).started_at is None
        outside.open_gate(*"012345")
        ended = [await session.wait(run) for run in runs]
    assert [run.status.value for run in ended] == ["completed"] * 3 + ["cancelled"] + ["completed"] * 2
    started = [run.started_at for run in ended if run.started_at is not None]
    assert started == sorted(started)  # first come first served


@pytest.mark.asyncio
async def test_runs_that_wait_for_queued_children_give_their_memory_back(tmp_path: Path) -> None:
    async with asyncio.timeout(60), Session(small(tmp_path, 96, 96)) as session:
        await session.add_workflow("tree", TREE)
        roots = [await session.start("tree", depth=2) for _ in range(3)]
        ended = [await session.wait(run) for run in roots]
        assert [(run.status, run.output) for run in ended] == [(RunStatus.COMPLETED, 7)] * 3
        assert max(run.attempts for run in ended) > 1  # parked, so that their children had a place


@pytest.mark.asyncio
async def test_a_queue_for_a_turn_is_told_too(tmp_path: Path, outside: Outside) -> None:
    home = make_home(tmp_path / "home", LOCAL_HTTP + "[workers]\nconcurrency = 1\n")
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("gate", GATE)
        first, second = [await session.start("gate", base=outside.url, n=n) for n in (0, 1)]
        assert "1 runs are worked on at one time (concurrency" in ((await queued(session, second)).queued or "")
        outside.open_gate("0", "1")
        assert {(await session.wait(run)).status for run in (first, second)} == {RunStatus.COMPLETED}


class _Guest:
    def __init__(self) -> None:
        self.bytes = 0

    def memory_bytes(self) -> int:
        return self.bytes


def test_a_run_counts_with_what_it_uses_and_what_is_known_of_its_kind() -> None:
    left = 10_000 * MIB
    memory = Memory(2000 * MIB, 500 * MIB, lambda: left, fresh_s=0.0)
    memory.take("a", "v1")
    assert (memory.used(), memory.room()) == (500 * MIB, 1500 * MIB)  # nothing is known: all that it may use
    guest = _Guest()
    memory.watch("a", cast("GuestProcess", guest), 200 * MIB)
    assert memory.used() == 200 * MIB
    memory.learn("v1", 40 * MIB)
    assert (memory.used(), memory.expected("v1"), memory.expected("v2")) == (40 * MIB, 40 * MIB, 500 * MIB)
    guest.bytes = 90 * MIB
    assert memory.used() == 90 * MIB
    memory.learn("v1", 5 * MIB)
    memory.learn("v1", 5 * MIB)
    assert (memory.expected("v1"), memory.used()) == (LEAST_BYTES, 90 * MIB)
    left = SPARE_BYTES + 100 * MIB  # of which what the run may still come to use is not free
    guest.bytes = 12 * MIB
    assert memory.room() == 80 * MIB
    memory.give_back("a")
    assert (memory.used(), memory.room()) == (0, 100 * MIB)


def test_what_is_left_is_the_least_of_the_machine_and_the_groups_around(tmp_path: Path) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    inner = groups / "a" / "b"
    (proc / "self").mkdir(parents=True)
    inner.mkdir(parents=True)
    assert available_bytes(proc, groups) is None
    (proc / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:  8000 kB\n")
    (proc / "self" / "cgroup").write_text("0::/a/b\n")
    assert available_bytes(proc, groups) == 8000 * 1024
    (inner / "memory.max").write_text("max\n")
    (inner / "memory.current").write_text("1000000\n")
    (groups / "a" / "memory.max").write_text("3000000\n")
    (groups / "a" / "memory.current").write_text("2500000\n")
    (groups / "a" / "memory.stat").write_text("anon 5\ninactive_file 200000\n")
    assert available_bytes(proc, groups) == 700_000
    (proc / "self" / "cgroup").write_text("3:cpu,memory:/../x\n")
    (groups / "memory").mkdir()
    (groups / "memory" / "memory.limit_in_bytes").write_text("5000\n")
    (groups / "memory" / "memory.usage_in_bytes").write_text("6000\n")
    assert available_bytes(proc, groups) == 0
