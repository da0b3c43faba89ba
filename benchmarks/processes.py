"""A confined process: how soon a trivial run has its result, what a call costs, how many there can be.

Below the engine: a process is opened, told what to run, and read to its last frame. Nothing is stored.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import floors
from figures import Figures, median
from msgspec import Raw
from peers import PYTHON

from stepwell.ports import GuestProcess, Limits, frames
from stepwell_sandbox.open import open_sandbox
from stepwell_sandbox.sandbox import ConfinedSandbox

TOPIC = "process"
POOL = 8
AT_ONCE = 8
IDLE = 40  # processes kept ready whose memory is measured
GOAL_FIRST_MS, GOAL_POOL_MS, GOAL_SHARE, GOAL_ZYGOTE_MS = 400.0, 1.5, 0.1, 6.0
GOAL_CALL_US, GOAL_RATE, GOAL_IDLE_MB = 60.0, 200.0, 3.0
TRIVIAL = "def run():\n    return 1\n"
CALLS = "def run(n: int):\n    for i in range(n):\n        tools.bench.echo(i=i)\n"
BWRAP = [
    "--unshare-all",
    "--die-with-parent",
    "--new-session",
    "--clearenv",
    "--ro-bind",
    "/",
    "/",
    "--dev",
    "/dev",
    "--cap-drop",
    "ALL",
]
MONTY = """
import json, time
import pydantic_monty
def timed(make, count):
    times = []
    for _ in range(count):
        began = time.perf_counter()
        make()
        times.append((time.perf_counter() - began) * 1000)
    return sorted(times)[count // 2]
with pydantic_monty.Monty() as pool:
    def run():
        with pool.checkout() as session:
            session.feed_run("1 + 1")
    run()
    print(json.dumps(timed(run, 200)))
"""


async def measure_process(figures: Figures, *, quick: bool) -> None:
    """Measure from the opening of a sandbox on; then what others take for about the same."""
    count = 20 if quick else 200
    began = time.perf_counter()
    async with open_sandbox(minimum="B", pool=0) as sandbox:
        await (await sandbox.open(Limits())).close()
        figures.at_most(TOPIC, "a sandbox, to its first confined process", _since(began), "ms", GOAL_FIRST_MS)
        fresh = await _median(sandbox, count, kept=0)
        rate = await _rate(sandbox, count * 2)
        call_us = await _call_us(sandbox, 200 if quick else 5000)
    async with open_sandbox(minimum="B", pool=POOL) as sandbox:
        kept = await _median(sandbox, count, kept=POOL)
    async with open_sandbox(minimum="B", pool=IDLE) as sandbox:
        idle = await _idle_mb(sandbox)
    figures.at_most(TOPIC, "a trivial run, a process kept ready", kept, "ms", GOAL_POOL_MS)
    python = figures.find(floors.PYTHON)
    if python:
        figures.at_most(
            TOPIC, "a trivial run, a process kept ready, as a share of a plain python",
            kept / python, "times", GOAL_SHARE,
        )  # fmt: skip
    figures.at_most(TOPIC, "a trivial run, a process made for it", fresh, "ms", GOAL_ZYGOTE_MS)
    figures.at_least(TOPIC, f"trivial runs, {AT_ONCE} at once", rate, "runs/s", GOAL_RATE)
    figures.at_most(TOPIC, "a call to the host and its answer", call_us, "us", GOAL_CALL_US)
    figures.at_most(TOPIC, "memory of a process kept ready, its own", idle, "MB", GOAL_IDLE_MB)
    _measure_others(figures, 9 if quick else 30)


async def _median(sandbox: ConfinedSandbox, count: int, kept: int) -> float:
    """Return the milliseconds from a request to its result, each made when so many processes are ready."""
    times: list[float] = []
    for _ in range(count):
        while sandbox.kept < kept:  # noqa: ASYNC110  it has no event
            await asyncio.sleep(0.001)
        began = time.perf_counter()
        guest = await _run(sandbox, TRIVIAL)
        times.append(_since(began))
        await guest.close()
    return median(times)


async def _rate(sandbox: ConfinedSandbox, count: int) -> float:
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            await (await _run(sandbox, TRIVIAL)).close()

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return count / (time.perf_counter() - began)


async def _call_us(sandbox: ConfinedSandbox, count: int) -> float:
    """Return the microseconds of a call, in the best third of them, as of the floors."""
    thirds: list[float] = []
    for _ in range(3):
        took: list[float] = []
        for calls in (1, count // 3):
            began = time.perf_counter()
            await (await _run(sandbox, CALLS, n=calls)).close()
            took.append(time.perf_counter() - began)
        thirds.append((took[1] - took[0]) * 1e6 / (count // 3 - 1))
    return min(thirds)


async def _run(sandbox: ConfinedSandbox, source: str, **inputs: int) -> GuestProcess:
    """Run a source to its result, answering every call at once."""
    guest = await sandbox.open(Limits())
    start = frames.Start(
        "r-bench", "bench", source, "run", "function", Raw(json.dumps(inputs).encode()), "00" * 32, time.time(), 1
    )
    await guest.send(start, frames.Replay([], False))
    while True:
        for frame in await guest.receive():
            if isinstance(frame, frames.Call):
                await guest.send(frames.Outcome(frame.id, time.time(), Raw(b"null")))
            elif isinstance(frame, frames.Done):
                return guest
            elif not isinstance(frame, frames.Mark | frames.Idle):
                raise RuntimeError(f"{source!r}: {frame}")  # noqa: TRY004


async def _idle_mb(sandbox: ConfinedSandbox) -> float:
    """Return what one process more takes: the pages that it shares with nobody."""
    while sandbox.kept < IDLE:  # noqa: ASYNC110  it has no event
        await asyncio.sleep(0.01)
    parents = _parents()
    common = Counter(parents.values())
    zygotes = [pid for pid in parents if os.getpid() in _ancestors(pid, parents)]
    zygote = max(zygotes, key=lambda pid: common[pid])
    return median([_own_mb(pid) for pid, parent in parents.items() if parent == zygote])


def _parents() -> dict[int, int]:
    return {int(path.name): _parent(path) for path in Path("/proc").iterdir() if path.name.isdigit()}


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0  # it ended meanwhile


def _ancestors(pid: int, parents: dict[int, int]) -> set[int]:
    found: set[int] = set()
    while (pid := parents.get(pid, 0)) > 1:
        found.add(pid)
    return found


def _own_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def _measure_others(figures: Figures, count: int) -> None:
    bare = [sys.executable, "-I", "-S", "-c", "pass"]
    figures.add(TOPIC, "a plain python that does nothing", _timed(bare, count), "ms")
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        figures.missing["bubblewrap"] = "not installed"
    else:
        figures.add(TOPIC, "the same in bubblewrap", _timed([bwrap, *BWRAP, *bare], count), "ms")
        imports = [sys.executable, "-I", "-S", "-c", floors.IMPORTS]
        figures.add(TOPIC, "in bubblewrap, with a workflow's imports", _timed([bwrap, *BWRAP, *imports], count), "ms")
    python = os.environ.get("STEPWELL_BENCH_PYTHON", str(PYTHON))
    if not Path(python).exists():
        figures.missing["pydantic-monty"] = "not installed; `make bench` installs it"
        return
    told = subprocess.run([python, "-c", MONTY], capture_output=True, text=True, check=False)
    if told.returncode:
        figures.missing["pydantic-monty"] = told.stderr.strip().rpartition("\n")[2][:200]
    else:
        figures.add(TOPIC, "pydantic-monty, an expression in a session of its pool", json.loads(told.stdout), "ms")


def _timed(command: list[str], count: int) -> float:
    return floors.timed(lambda: subprocess.run(command, check=True, stdin=subprocess.DEVNULL), count)


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1000
