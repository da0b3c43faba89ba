"""Runs and steps beside the floors of this machine: `make bench`. Ratios count; a shared machine makes times vary."""

import argparse
import asyncio
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from stepwell.model import Run, RunStatus
from stepwell_server import Session

NOTHING = "def run():\n    return 1\n"
STEPS = "async def run(ctx, n: int):\n    for i in range(n):\n        await ctx.step('s')(i)\n    return n\n"
SYNC_STEPS = "def run(ctx, n: int):\n    for i in range(n):\n        ctx.step('s')(i)\n    return n\n"
RESUMED = (
    "async def run(ctx, n: int):\n    for i in range(n):\n        await ctx.step('s')(i)\n"
    "    await ctx.wait_for_user('?')\n    return n\n"
)
IMPORTS = (
    "import asyncio, json, typing, datetime, re, dataclasses, collections, random, decimal, uuid, hashlib, logging"
)


def p50(times: list[float]) -> float:
    """Return the median in milliseconds."""
    return statistics.median(times) * 1000


def timed(work: Callable[[], object], count: int) -> list[float]:
    """Return the seconds of every repetition."""
    times: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return times


def floor_commit(folder: Path) -> float:
    """Return the median milliseconds of one durable SQLite commit on this disk."""
    connection = sqlite3.connect(folder / "floor.db", isolation_level=None)
    connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (x)")
    times = timed(lambda: connection.execute("INSERT INTO t VALUES (1)"), 300)
    connection.close()
    return p50(times)


def floor_python() -> float:
    """Return the median milliseconds of a plain interpreter with the imports that a workflow has."""
    return p50(timed(lambda: subprocess.run([sys.executable, "-I", "-S", "-c", IMPORTS], check=True), 7))


async def one_run(session: Session, name: str, **inputs: int) -> tuple[float, Run]:
    """Return the seconds from start to result."""
    began = time.perf_counter()
    run = await session.run(name, **inputs)
    if run.status is not RunStatus.COMPLETED:
        raise RuntimeError(f"{name}: {run.status}, {run.error}")
    return time.perf_counter() - began, run


async def measure(folder: Path, steps: int) -> dict[str, float]:
    """Return the figures by name; milliseconds unless the name says otherwise."""
    figures = {"floor: one durable commit": floor_commit(folder), "floor: python with imports": floor_python()}
    began = time.perf_counter()
    async with Session(folder / "home") as session:
        for name, source in (("nothing", NOTHING), ("steps", STEPS), ("sync_steps", SYNC_STEPS), ("resumed", RESUMED)):
            await session.add_workflow(name, source)
        await one_run(session, "nothing")
        figures["first run, from opening the home"] = (time.perf_counter() - began) * 1000
        figures["a run that does nothing"] = p50([(await one_run(session, "nothing"))[0] for _ in range(100)])
        for name in ("steps", "sync_steps"):
            seconds = min([(await one_run(session, name, n=steps))[0] for _ in range(3)])
            figures[f"{name} per second, one run of {steps}"] = steps / seconds
        began = time.perf_counter()
        await asyncio.gather(*(one_run(session, "steps", n=10) for _ in range(100)))
        figures["steps per second, 100 runs of 10"] = 1000 / (time.perf_counter() - began)
        waiting = await session.run("resumed", n=steps)
        began = time.perf_counter()
        await session.wait(await session.answer(waiting, "go"))
        figures[f"resume behind {steps} recorded steps"] = (time.perf_counter() - began) * 1000
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--steps", type=int, default=1000, help="steps of one run (default 1000)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(Path(folder), options.steps))
    if options.json:
        print(json.dumps(figures, indent=2))
        return
    table = Table("what", "ms or per second", "ratio")
    commit, python = figures["floor: one durable commit"], figures["floor: python with imports"]
    for name, value in figures.items():
        ratio = ""
        if "per second" in name:
            ratio = f"{value * commit / 1000:.2f} steps per commit of the floor"
        elif not name.startswith("floor"):
            ratio = f"{value / python:.2f} of a plain python"
        table.add_row(name, f"{value:,.2f}", ratio)
    Console().print(table)


if __name__ == "__main__":
    main()
