"""A server that dies without a word takes its guests with it; its folder goes at the next start."""

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from confined import LEVEL_NAMES, confined, descendants, names_in, start_frame, with_our_code
from stepwell.errors import SandboxUnavailable
from stepwell.ports.limits import Limits
from stepwell_sandbox.scratch import Folder, sweep

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
    async with asyncio.timeout(30), confined(level, tmp_path) as link:
        guest = await link.spawn(Limits(), lambda: None)
        *_, zygote, last = descendants(os.getpid())
        pidfd = os.pidfd_open(last)
        await guest.send(start_frame("def run():\n    while True: pass"))
        os.kill(zygote, signal.SIGKILL)
        assert await guest.receive() == []
        ended = await guest.close()
        wait_for_end([pidfd])
        os.close(pidfd)
        with pytest.raises(SandboxUnavailable, match="zygote died"):
            await link.spawn(Limits(), lambda: None)
    assert (ended.signal, ended.detail) == (9, "its zygote died")
    assert names_in(tmp_path) == []


def test_the_folder_of_a_living_server_is_left_alone(tmp_path: Path) -> None:
    first = Folder(tmp_path)
    second = Folder(tmp_path)
    assert first.path.exists()
    first.remove()
    second.remove()
    assert names_in(tmp_path) == []


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
    assert (outside / "lock").exists()


def test_a_starter_is_told_of_a_program_that_does_not_exist() -> None:
    from stepwell_sandbox.starter import Program, Starter

    async def main() -> None:
        starter = Starter(Program(("/nonexistent/program",), {}), 0)
        with pytest.raises(OSError, match="nonexistent"):
            await starter.started
        await starter.ended
        starter.close()

    asyncio.run(main())


def test_servers_that_start_together_do_not_sweep_each_other(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        folders = list(threads.map(lambda _: Folder(tmp_path), range(40)))
        assert all((folder.code / "stepwell_sandbox" / "zygote.py").exists() for folder in folders)
        list(threads.map(Folder.remove, folders))
    assert names_in(tmp_path) == []
