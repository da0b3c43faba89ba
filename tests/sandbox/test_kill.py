"""A server that dies without a word takes its guests with it; its folder goes at the next start."""

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from confined import LEVEL_NAMES, confined, descendants, names_in, start_frame, with_our_code
from stepwell.errors import SandboxUnavailable
from stepwell.model import RunStatus
from stepwell.ports.limits import Limits
from stepwell_sandbox import link, process
from stepwell_sandbox.sandbox import ConfinedSandbox
from stepwell_sandbox.scratch import Folder, sweep
from stepwell_server import Session
from support.server import make_home

PROGRAM = Path(__file__).parent / "programs" / "killed_server.py"


def wait_for_end(pidfds: list[int]) -> None:
    poll = select.poll()
    waiting = set(pidfds)
    for fd in pidfds:
        poll.register(fd, select.POLLIN)
    while waiting:
        ready = poll.poll(10_000)
        assert ready, f"{len(waiting)} processes outlive their server"
        for fd, _ in ready:
            poll.unregister(fd)
            waiting.discard(fd)


@pytest.mark.parametrize("level", LEVEL_NAMES)
def test_sigkill_of_the_server_leaves_no_process(level: str, tmp_path: Path) -> None:
    command = [sys.executable, str(PROGRAM), level, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=with_our_code()) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        line = server.stdout.readline()
        if not line and "cannot be had here" in server.stderr.read():
            pytest.skip(f"level {level} cannot be had here")
        pids: list[int] = json.loads(line)
        assert len(pids) >= 3  # the zygote and two guests
        pidfds = [os.pidfd_open(pid) for pid in pids]
        server.send_signal(signal.SIGKILL)
        server.wait()
    wait_for_end(pidfds)
    for fd in pidfds:
        os.close(fd)
    (left,) = tmp_path.iterdir()
    sweep(tmp_path)
    assert not left.exists()


@pytest.mark.asyncio
@pytest.mark.parametrize("level", LEVEL_NAMES)
async def test_a_guest_dies_with_its_zygote(level: str, tmp_path: Path) -> None:
    async with asyncio.timeout(60), confined(level, tmp_path) as started:
        guest = await started.spawn(Limits(), lambda: None)
        *_, zygote, last = descendants(os.getpid())
        pidfd = os.pidfd_open(last)
        await guest.send(start_frame("def run():\n    while True: pass"))
        os.kill(zygote, signal.SIGKILL)
        assert await guest.receive() == []
        ended = await guest.close()
        wait_for_end([pidfd])
        os.close(pidfd)
        with pytest.raises(SandboxUnavailable, match="zygote died"):
            await started.spawn(Limits(), lambda: None)
    assert (ended.signal, ended.detail) == (9, "its zygote died")
    assert names_in(tmp_path) == []


def test_the_folder_of_a_living_server_is_left_alone(tmp_path: Path) -> None:
    first = Folder(tmp_path)
    second = Folder(tmp_path)
    assert first.path.exists()
    first.remove()
    second.remove()
    assert names_in(tmp_path) == []


def test_a_folder_that_cannot_be_filled_is_removed(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(OSError, match="nonexistent"):
            Folder(tmp_path, [Path("/nonexistent.py")])  # as on a full disk
    assert names_in(tmp_path) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_sweeping_touches_nothing_of_others(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "lock").touch()
    root = tmp_path / "root"
    root.mkdir()
    (root / f"stepwell-{os.getuid()}-link").symlink_to(outside)
    (root / "other").mkdir()
    (root / f"stepwell-{os.getuid()}-starting").mkdir()  # its server has not made the lock yet
    sweep(root)
    assert sorted(path.name for path in root.iterdir()) == sorted(
        [f"stepwell-{os.getuid()}-link", "other", f"stepwell-{os.getuid()}-starting"]
    )
    os.utime(root / f"stepwell-{os.getuid()}-starting", (0, 0))  # it never will: it was killed before
    sweep(root)
    assert names_in(root) == ["other", f"stepwell-{os.getuid()}-link"]
    assert (outside / "lock").exists()


def test_a_starter_is_told_of_a_program_that_does_not_exist() -> None:
    from stepwell_sandbox.starter import Program, Starter

    async def main() -> None:
        starter = Starter(Program(("/nonexistent/program",), {}), 0)
        with pytest.raises(OSError, match="nonexistent"):
            await starter.started
        await starter.ended

    asyncio.run(main())


def test_servers_that_start_together_do_not_sweep_each_other(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        folders = list(threads.map(lambda _: Folder(tmp_path), range(40)))
        assert all((folder.code / "stepwell_sandbox" / "zygote.py").exists() for folder in folders)
        list(threads.map(Folder.remove, folders))
    assert names_in(tmp_path) == []


async def kill_when_there(pid: int, depth: int, number: int = signal.SIGKILL) -> None:
    """Send a signal to the process so far below one as soon as it exists."""
    while len(found := descendants(pid)) < depth:  # noqa: ASYNC110
        await asyncio.sleep(0)
    os.kill(found[depth - 1], number)


@pytest.mark.asyncio
@pytest.mark.parametrize("depth", [1, 2, 3])
async def test_a_start_that_is_killed_is_made_again_and_not_at_a_weaker_level(depth: int, tmp_path: Path) -> None:
    async with asyncio.timeout(60), ConfinedSandbox(pool=0, scratch_root=tmp_path / "undisturbed") as sandbox:
        level = (await sandbox.report()).level
    async with asyncio.timeout(60), ConfinedSandbox(pool=0, scratch_root=tmp_path / "killed") as sandbox:
        killing = asyncio.create_task(kill_when_there(os.getpid(), depth if level.startswith("A") else 1))
        guest = await sandbox.open(Limits())
        await killing
        assert (sandbox.level, guest.alive) == (level, True)
        await guest.close()


@pytest.mark.asyncio
async def test_new_processes_that_are_killed_are_made_again(tmp_path: Path) -> None:
    async with asyncio.timeout(60), ConfinedSandbox(pool=0, scratch_root=tmp_path) as sandbox:
        await sandbox.report()
        own = descendants(os.getpid())

        async def kill_some() -> None:
            killed = 0
            while killed < 10:
                for pid in set(descendants(os.getpid())) - set(own):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        killed += 1
                await asyncio.sleep(0)

        killing = asyncio.create_task(kill_some())
        while not killing.done():
            with suppress(SandboxUnavailable):
                await (await sandbox.open(Limits())).close()
        await (await sandbox.open(Limits())).close()
        assert descendants(os.getpid()) == own


@pytest.mark.asyncio
async def test_a_zygote_that_hangs_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "READY_S", 0.5)
    monkeypatch.setattr(link, "GOODBYE_S", 0.5)
    monkeypatch.setattr(process, "CLOSE_S", 0.2)
    async with asyncio.timeout(60), ConfinedSandbox(pool=0, scratch_root=tmp_path) as sandbox:
        await sandbox.report()
        stopped = descendants(os.getpid())
        pidfds = [os.pidfd_open(pid) for pid in stopped]
        os.kill(stopped[-1], signal.SIGSTOP)
        guest = await sandbox.open(Limits())
        assert guest.alive
        await guest.close()
        wait_for_end(pidfds)
    for fd in pidfds:
        os.close(fd)
    assert names_in(tmp_path) == []


SLOW = """
import select
def run():
    artifacts.save("begun", 1)
    select.select([], [], [], 2)
    return 1
"""


@pytest.mark.asyncio
async def test_a_run_whose_process_cannot_be_reaped_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "READY_S", 1.0)
    monkeypatch.setattr(link, "GOODBYE_S", 0.5)
    monkeypatch.setattr(process, "CLOSE_S", 0.2)
    home = make_home(tmp_path / "home", "[sandbox]\npool = 0\n")
    async with asyncio.timeout(60), Session(home) as session:
        await session.app.sandbox.report()
        own = descendants(os.getpid())
        await session.add_workflow("slow", SLOW)
        run = await session.start("slow")
        while not await session.app.engine.artifacts(run.id):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        os.kill(own[-1], signal.SIGSTOP)
        os.kill(descendants(os.getpid())[-1], signal.SIGKILL)
        ended = await session.wait(run)
    assert (ended.status, ended.output, ended.attempts) == (RunStatus.COMPLETED, 1, 2)
