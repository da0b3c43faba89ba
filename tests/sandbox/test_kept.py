"""A process that was kept ready is to its workflow like one that was made for it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from confined import until
from stepwell.ports.frames import Call, Compiled, Done, GuestFrame, Idle, Outcome, Replay, Start
from stepwell.ports.sandbox import Limits
from stepwell_sandbox.open import open_sandbox

SOURCE = """
import asyncio, fcntl, gc, logging, os, random, sys, threading, time, uuid, warnings

def open_files():
    found = []
    for fd in range(64):
        try:
            found.append((fd, fcntl.fcntl(fd, fcntl.F_GETFL)))
        except OSError:
            pass
    return found

async def run(ctx):
    clock = [time.time(), time.monotonic()]
    branch = asyncio.create_task(asyncio.sleep(0))
    await branch
    print("a line")
    logging.getLogger("a").warning("a warning")
    looked = tools.a.look()
    step = await ctx.step("own", lambda: 2)
    return {
        "tasks": [asyncio.current_task().get_name(), branch.get_name()],
        "threads": [thread.name for thread in threading.enumerate()],
        "thread": threading.Thread().name,
        "modules": sorted(sys.modules),
        "files": open_files(),
        "scratch": os.listdir("."),
        "handlers": [type(handler).__name__ for handler in logging.getLogger().handlers],
        "filters": [str(item) for item in warnings.filters],
        "chance": [random.random(), str(uuid.uuid4()), os.urandom(4).hex()],
        "clock": clock,
        "functions": [fn.__code__.co_firstlineno for fn in (asyncio.sleep, asyncio.run, time.sleep)],
        "depth": len([f for f in asyncio.sleep.__closure__ or () if callable(f.cell_contents)]),
        "looked": [looked, step],
    }
"""


async def run(pool: int, root: Path) -> tuple[dict[str, Any], list[GuestFrame]]:
    start = Start(
        "r-1", "w", SOURCE, "run", "function", Raw(b"{}"), "01" * 32, 1700000000.0, 1, context_parameters=["ctx"]
    )
    received: list[GuestFrame] = []
    async with asyncio.timeout(60), open_sandbox(scratch_root=root, pool=pool) as sandbox:
        await until(lambda: sandbox.kept == pool)
        process = await sandbox.open(Limits())
        await process.send(start, Replay([], False))
        while not received or not isinstance(received[-1], Done):
            for frame in await process.receive():
                received.append(frame)
                if isinstance(frame, Call):
                    await process.send(Outcome(frame.id, 1700000001.0, Raw(b'"seen"')))
        await process.close()
    assert isinstance(received[-1], Done)
    # It says that it is idle when an answer is slow to come.
    return json.loads(bytes(received[-1].value)), [frame for frame in received if not isinstance(frame, Idle)]


@pytest.mark.asyncio
async def test_a_process_that_was_kept_shows_its_workflow_nothing_else(tmp_path: Path) -> None:
    fresh, frames = await run(0, tmp_path)
    kept, others = await run(1, tmp_path)

    assert kept.keys() == fresh.keys()
    for name, value in fresh.items():
        assert kept[name] == value, name
    assert [type(frame) for frame in others] == [type(frame) for frame in frames]
    assert fresh["looked"] == ["seen", 2]


@pytest.mark.asyncio
async def test_what_a_source_was_compiled_to_is_told_first_and_used_by_the_next_process(tmp_path: Path) -> None:
    first = Start("r-1", "w", "def run():\n    return 1\n", "run", "function", Raw(b"{}"), "01" * 32, 1.0, 1)
    async with asyncio.timeout(60), open_sandbox(scratch_root=tmp_path, pool=0) as sandbox:

        async def received(start: Start) -> list[GuestFrame]:
            process = await sandbox.open(Limits())
            await process.send(start, Replay([], False))
            frames: list[GuestFrame] = []
            while not any(isinstance(frame, Done) for frame in frames):
                frames += await process.receive()
            await process.close()
            return frames

        told, done = await received(replace(first, tells_code=True))
        assert isinstance(told, Compiled)
        assert done == Done(Raw(b"1"))
        other = replace(first, source="def run():\n    return 2\n", tells_code=True)
        assert await received(replace(other, code=told.code)) == [Done(Raw(b"1"))]
        compiled, done = await received(replace(other, code="of another Python"))
        assert isinstance(compiled, Compiled)
        assert done == Done(Raw(b"2"))
