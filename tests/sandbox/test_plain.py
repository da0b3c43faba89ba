"""Level `none`: no isolation, yet limits, a clean environment, and an end."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from confined import RAW_ENTRY, RAW_GUEST, names_in, run, until
from stepwell.ports.limits import Limits
from stepwell_sandbox.interpreter import ENVIRONMENT, find_interpreter
from stepwell_sandbox.link import Machine
from stepwell_sandbox.plain import PlainStart
from stepwell_sandbox.scratch import Folder

pytestmark = pytest.mark.asyncio


@asynccontextmanager
async def plain(root: Path) -> AsyncGenerator[PlainStart]:
    folder = Folder(root, (RAW_GUEST,))
    start = PlainStart(Machine(find_interpreter(), folder, RAW_ENTRY))
    try:
        yield start
    finally:
        await start.close()
        folder.remove()


async def test_a_run_has_a_clean_environment_and_a_folder_of_its_own(tmp_path: Path) -> None:
    source = "import os\ndef run():\n    open('x', 'w').close()\n    return [dict(os.environ), os.listdir('.')]"
    async with asyncio.timeout(60), plain(tmp_path) as start:
        first, second = await run(start, source), await run(start, source)
    environment, files = first.value
    assert {name: value for name, value in environment.items() if name != "LC_CTYPE"} == ENVIRONMENT
    assert files == second.value[1] == ["x"]
    assert names_in(tmp_path) == []


async def test_what_a_run_started_ends_with_it(tmp_path: Path) -> None:
    source = "import subprocess\ndef run(): return subprocess.Popen(['sleep', '600']).pid"
    async with asyncio.timeout(60), plain(tmp_path) as start:
        ran = await run(start, source)
        await until(lambda: _dead(ran.value))


async def test_its_cpu_time_is_limited(tmp_path: Path) -> None:
    async with asyncio.timeout(60), plain(tmp_path) as start:
        ran = await run(start, "def run():\n    while True: pass", Limits(cpu_s=1))
    assert ran.exit is not None
    assert (ran.exit.signal, ran.exit.limit) == (9, "cpu_s")


async def test_closing_kills_what_still_runs(tmp_path: Path) -> None:
    async with asyncio.timeout(60):
        async with plain(tmp_path) as start:
            process = await start.spawn(Limits(), lambda: None)
        assert (await process.close()).signal == 9


async def test_a_start_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    async with asyncio.timeout(60), plain(tmp_path) as start:
        before = len(os.listdir("/proc/self/fd"))
        for turns in range(12):
            opening = asyncio.create_task(start.spawn(Limits(), lambda: None))
            for _ in range(turns):
                await asyncio.sleep(0)
            opening.cancel()
            await asyncio.wait([opening])
            assert (start.children, names_in(start.machine.folder.runs)) == (0, [])
        assert len(os.listdir("/proc/self/fd")) <= before


def _dead(pid: int) -> bool:
    return not os.path.exists(f"/proc/{pid}") or "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
