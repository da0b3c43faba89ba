"""The sandbox as a server uses it: pool, restart, and no leftovers."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from confined import RAW_ENTRY, RAW_GUEST, descendants, drive, names_in, until
from stepwell.errors import ConfigError, SandboxUnavailable
from stepwell.ports.limits import Limits
from stepwell_sandbox.open import open_sandbox
from stepwell_sandbox.sandbox import ConfinedSandbox

pytestmark = pytest.mark.asyncio
PID = "import os\ndef run(): return os.getpid()"


def sandbox(root: Path, **options: object) -> ConfinedSandbox:
    return ConfinedSandbox(scratch_root=root, guest_entry=RAW_ENTRY, guest_code=(RAW_GUEST,), **options)  # pyright: ignore[reportArgumentType]


async def deaths(pidfds: list[int]) -> None:
    """Wait until all these processes have died."""
    loop = asyncio.get_running_loop()
    for fd in pidfds:
        dead = asyncio.Event()
        loop.add_reader(fd, dead.set)
        await dead.wait()
        loop.remove_reader(fd)
        os.close(fd)


def open_fds() -> set[str]:
    return {
        os.readlink(f"/proc/self/fd/{fd}")
        for fd in os.listdir("/proc/self/fd")
        if os.path.exists(f"/proc/self/fd/{fd}")
    }


async def test_the_real_guest_is_ready(tmp_path: Path) -> None:
    async with asyncio.timeout(60), open_sandbox(scratch_root=tmp_path) as opened:
        process = await opened.open(Limits())
        assert process.level == opened.level
        assert process.level in ("A", "A2", "B")
        assert (await process.close()).signal == 9


async def test_an_unknown_level_is_the_operators_mistake(tmp_path: Path) -> None:
    async with asyncio.timeout(60), open_sandbox(scratch_root=tmp_path, minimum="Z") as opened:
        with pytest.raises(ConfigError, match="'Z'"):
            await opened.open(Limits())


async def test_many_runs_at_once_are_apart(tmp_path: Path) -> None:
    source = (
        "import os\ndef run(n):\n    open('n', 'w').write(str(n))\n    tools.call('x')\n    return open('n').read()"
    )
    async with asyncio.timeout(60), sandbox(tmp_path) as opened:
        processes = await asyncio.gather(*(opened.open(Limits()) for _ in range(20)))
        runs = await asyncio.gather(*(drive(process, source, n=n) for n, process in enumerate(processes)))
    assert [ran.value for ran in runs] == [str(n) for n in range(20)]


async def test_other_limits_get_a_process_of_their_own(tmp_path: Path) -> None:
    source = "import resource\ndef run(): return resource.getrlimit(resource.RLIMIT_CPU)[0]"
    async with asyncio.timeout(60), sandbox(tmp_path) as opened:
        values = [(await drive(await opened.open(Limits(cpu_s=n)), source)).value for n in (60, 7, 60)]
    assert values == [60, 7, 60]


async def test_nothing_is_left_after_the_end(tmp_path: Path) -> None:
    before = open_fds()
    async with asyncio.timeout(60):
        async with sandbox(tmp_path) as opened:
            await drive(await opened.open(Limits()), PID)
            running = await opened.open(Limits())  # not closed by its user
            pidfds = [os.pidfd_open(pid) for pid in descendants(os.getpid())]
            assert pidfds
            await until(lambda: opened.kept > 0)
        assert (await running.close()).signal == 9
        await deaths(pidfds)
    assert names_in(tmp_path) == []
    assert open_fds() <= before
    with pytest.raises(SandboxUnavailable, match="closed"):
        await opened.open(Limits())


@pytest.mark.parametrize("victim", [0, 1, 2])
async def test_a_killed_zygote_ends_its_runs_and_is_replaced(victim: int, tmp_path: Path) -> None:
    others = descendants(os.getpid())  # also such as have ended and are not reaped
    async with asyncio.timeout(60), sandbox(tmp_path, pool=1) as opened:
        running = await opened.open(Limits())
        own = [pid for pid in descendants(os.getpid()) if pid not in others]
        chain = own[: 3 if opened.level.startswith("A") else 1]  # bwrap, bwrap, zygote
        if victim >= len(chain):
            pytest.skip(f"level {opened.level} has no such process")
        pidfds = [os.pidfd_open(pid) for pid in own]
        os.kill(chain[victim], signal.SIGKILL)
        await deaths(pidfds)
        assert await running.receive() == []
        ended = await running.close()
        assert ended.signal == 9
        assert (await drive(await opened.open(Limits()), "def run(): return 5")).value == 5


async def test_the_event_loop_is_free_while_the_sandbox_starts(tmp_path: Path) -> None:
    turns = 0
    async with asyncio.timeout(60), sandbox(tmp_path) as opened:
        opening = asyncio.ensure_future(opened.open(Limits()))
        while not opening.done():
            turns += 1
            await asyncio.sleep(0.001)
        await opening.result().close()
    assert turns > 10


async def test_a_sandbox_that_is_closed_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for n in range(20):  # a moment later each
        async with asyncio.timeout(60), sandbox(tmp_path, pool=1):
            await asyncio.sleep(n / 1000)
        assert names_in(tmp_path) == []
    assert len(os.listdir("/proc/self/fd")) <= before


async def test_a_cancelled_open_leaves_no_process(tmp_path: Path) -> None:
    async with asyncio.timeout(60), sandbox(tmp_path, pool=0) as opened:
        await opened.report()
        idle = len(descendants(os.getpid()))
        for _ in range(5):
            opening = asyncio.ensure_future(opened.open(Limits()))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            opening.cancel()
            await asyncio.wait([opening])
        await (await opened.open(Limits())).close()
        await until(lambda: len(descendants(os.getpid())) == idle)
