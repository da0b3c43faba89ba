"""One server process for many runs: nothing of a run stays when it is over.

`STEPWELL_LEAK_RUNS=5000 pytest -m "exhaustive or not exhaustive" tests/session/test_leaks.py` makes so many.
"""

import asyncio
import gc
import os
import resource
import threading
from collections import Counter
from pathlib import Path

import pytest
from floods import source

from durability.churn import descendants
from stepwell.model import RunStatus
from stepwell_server import Session
from support.responsive import responsive
from support.server import make_home

RUNS = int(os.environ.get("STEPWELL_LEAK_RUNS", "1000"))
FEW = 200
AT_ONCE = 20
BYTES_PER_RUN = 6 * 1024
"""What a run may leave: caches of the store and of the allocator fill up in the first thousands."""
SOURCES = {
    "steps": "async def run(ctx):\n    return await ctx.parallel(ctx.step('a', lambda: 1), ctx.step('b', lambda: 2))",
    "calls": "def run():\n    artifacts.save('a', 'x' * 10_000)\n    print('line')\n    return artifacts.load('a')",
    "fails": "def run():\n    raise ValueError('x' * 1000)",
    "refused": "def run():\n    return tools.none(x=1)",
    "waits": "async def run(ctx):\n    await ctx.wait_for_event('never')",
    "broken": source('frame(b"{"); linger()'),
    "exits": "import os\ndef run():\n    os._exit(3)",
}


def state() -> Counter[str]:
    """Return what this process holds."""
    objects = Counter(type(found).__name__ for found in gc.get_objects())
    return Counter(
        descriptors=len(os.listdir("/proc/self/fd")),
        tasks=len(asyncio.all_tasks()),
        threads=threading.active_count(),
        processes=len(descendants(os.getpid())),
        futures=objects["Future"] + objects["Task"],
        runs=objects["Execution"] + objects["ConfinedProcess"] + objects["Channel"] + objects["ZygoteChild"],
    )


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def work(session: Session, count: int) -> None:
    # A broken protocol costs a new zygote each time.
    names = [name for name in SOURCES if name != "broken"] * 8 + ["broken"]

    async def some(first: int) -> None:
        for n in range(first, count, AT_ONCE):
            run = await session.run(names[n % len(names)])
            if run.status is RunStatus.WAITING:
                await session.cancel(run)

    await asyncio.gather(*(some(n) for n in range(AT_ONCE)))


async def settled(session: Session) -> Counter[str]:
    """Return the state when the processes of runs are gone and those kept ready are there."""
    previous: Counter[str] | None = None
    for _ in range(40):
        await session.run("steps")
        await asyncio.sleep(0.25)
        gc.collect()
        if (now := state()) == previous:
            return now
        previous = now
    return state()


@pytest.mark.slow
@pytest.mark.own_sandbox
@pytest.mark.asyncio
@pytest.mark.parametrize("count", [FEW, pytest.param(RUNS, marks=pytest.mark.exhaustive)])
async def test_nothing_of_a_run_stays(tmp_path: Path, count: int):
    with responsive():
        async with asyncio.timeout(1800), Session(make_home(tmp_path / "home")) as session:
            for name, code in SOURCES.items():
                await session.add_workflow(name, code)
            await work(session, FEW)
            before, memory = await settled(session), resident_bytes()
            await work(session, count)
            after, grown = await settled(session), resident_bytes() - memory
    print(f"{count} runs: {before} became {after}, memory grew by {grown >> 10} KiB")
    assert {name: n for name, n in (after - before).items() if n > 2} == {}
    if count >= 1000:
        assert grown < BYTES_PER_RUN * count
