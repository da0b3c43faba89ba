"""Steps and runs beside peers, and how long a run takes to be where it was."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import floors
import programs
from figures import Figures, median
from peers import Peer

from stepwell.engine.replaying import begin, replay_chunks
from stepwell.model import Run, RunStatus
from stepwell.ports import Limits, frames
from stepwell.store import journal, runs
from stepwell_server import Session

STEPS, RESUME, EMPTY = "steps", "resume", "one run"
SEQUENTIAL, CONCURRENT = "steps/s of one run", "steps/s of 100 runs of 10 steps"
RUNS, STEPS_EACH = 100, 10
GOAL_TIMES, GOAL_STEPS = 10, 8000
GOAL_RESUME_MS = {1_000: 30.0, 10_000: 200.0}


async def finish(session: Session, name: str, **inputs: int) -> Run:
    """Run to the end.

    Raises:
        RuntimeError: it did not complete.
    """
    run = await session.run(name, **inputs)
    if run.status is not RunStatus.COMPLETED:
        raise RuntimeError(f"{name}: {run.status}, {run.error}")
    return run


async def measure_steps(figures: Figures, folder: Path, peers: list[Peer], steps: int, rounds: int) -> None:
    """Measure ours and theirs in turns, so that a busy machine slows all of them; the best of each counts."""
    sources = {"sync_steps": programs.SYNC_STEPS, "async_steps": programs.ASYNC_STEPS}
    ours: dict[str, float] = dict.fromkeys([*sources, "runs"], 0.0)
    theirs: dict[str, dict[str, float]] = {}
    async with Session(folder / "steps") as session:
        for name, source in sources.items():
            await session.add_workflow(name, source)
            await finish(session, name, n=20)
        for _ in range(rounds):
            for name in sources:
                ours[name] = max(ours[name], await _rate(session, name, steps))
            ours["runs"] = max(ours["runs"], await _rate_of_many(session))
            for peer in peers:
                found = await peer.measure(steps)
                if found is None:
                    figures.missing[peer.name] = peer.why
                    continue
                best = theirs.setdefault(peer.name, found)
                theirs[peer.name] = {kind: max(value, best[kind]) for kind, value in found.items()}
    for name in sources:
        figures.at_least(STEPS, f"{SEQUENTIAL}, {name.partition('_')[0]} body", ours[name], "steps/s", GOAL_STEPS)
    figures.add(STEPS, CONCURRENT, ours["runs"], "steps/s")
    best = max(ours[name] for name in sources)
    for peer, found in theirs.items():
        figures.add(STEPS, f"{SEQUENTIAL}, {peer}", found["sequential"], "steps/s")
        figures.add(STEPS, f"{CONCURRENT}, {peer}", found["concurrent"], "steps/s")
        figures.at_least(
            STEPS, f"{SEQUENTIAL}, as a multiple of {peer}", best / found["sequential"], "times", GOAL_TIMES
        )
        many = ours["runs"] / found["concurrent"]
        figures.at_least(STEPS, f"{CONCURRENT}, as a multiple of {peer}", many, "times", GOAL_TIMES)


async def _rate(session: Session, name: str, steps: int) -> float:
    began = time.perf_counter()
    await finish(session, name, n=steps)
    return steps / (time.perf_counter() - began)


async def _rate_of_many(session: Session) -> float:
    began = time.perf_counter()
    await asyncio.gather(*(finish(session, "async_steps", n=STEPS_EACH) for _ in range(RUNS)))
    return RUNS * STEPS_EACH / (time.perf_counter() - began)


async def measure_resume(figures: Figures, folder: Path, sizes: list[int]) -> None:
    """Measure a real guest on a real journal, from the start message to its next new call."""
    async with Session(folder / "resume") as session:
        await session.add_workflow("sync_body", programs.SYNC_RESUMED)
        await session.add_workflow("async_body", programs.ASYNC_RESUMED)
        for size in sizes:
            for name in ("sync_body", "async_body"):
                run = await session.run(name, n=size)
                taken = [await _replay(session, run) for _ in range(5)]
                what = f"{size:,} recorded steps to the next new call, {name.split('_')[0]}"
                figures.at_most(RESUME, f"{what} body", min(taken), "ms", GOAL_RESUME_MS.get(size, 1000.0))
                began = time.perf_counter()
                await session.answer(run, "go")
                figures.add(
                    RESUME, f"{what} body, from the answer to the end", (time.perf_counter() - began) * 1000, "ms"
                )


async def _replay(session: Session, run: Run) -> float:
    app = session.app
    version = await app.catalog.version(run.version)
    entries = await app.database.read(lambda c: journal.list_entries(c, run.id))
    recorded = [entry for entry in entries if entry.kind == "step"]
    row = await app.database.read(lambda c: runs.find_run(c, run.id))
    assert row is not None  # it was run above
    row = replace(row, input=b'{"n":%d}' % len(recorded))
    chunks = replay_chunks(recorded)
    guest = await app.sandbox.open(Limits())
    try:
        began = time.perf_counter()
        await begin(guest, row, version, chunks, attempt=2)
        while True:
            received = await guest.receive()
            if any(isinstance(frame, frames.Call) for frame in received):
                return (time.perf_counter() - began) * 1000
            if not received or any(isinstance(frame, frames.Failed | frames.Diverged) for frame in received):
                raise RuntimeError(f"the replay ended: {received}")
    finally:
        await guest.close()


async def measure_empty(figures: Figures, folder: Path) -> None:
    """Measure a run that does nothing, which is a process and two commits."""
    began = time.perf_counter()
    async with Session(folder / "empty") as session:
        await session.add_workflow("nothing", programs.NOTHING)
        await finish(session, "nothing")
        figures.add(EMPTY, "first run of a new home, in a process that has Stepwell loaded", _since(began), "ms")
        times: list[float] = []
        for _ in range(50):
            began = time.perf_counter()
            await finish(session, "nothing")
            times.append(_since(began))
        figures.add(EMPTY, "a run that does nothing", median(times), "ms")
    python = figures.find(floors.PYTHON)
    if python:
        figures.add(EMPTY, "a run that does nothing, as a multiple of a plain python", median(times) / python, "times")


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1000
