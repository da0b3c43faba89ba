"""Every level, in real confined processes."""

import asyncio
import errno
import os
from pathlib import Path

import pytest

from confined import LEVEL_NAMES, confined, names_in, run
from stepwell.ports.limits import Limits
from stepwell_sandbox.interpreter import ENVIRONMENT

pytestmark = pytest.mark.asyncio
every_level = pytest.mark.parametrize("level", LEVEL_NAMES)
with_files = pytest.mark.parametrize("level", [name for name in LEVEL_NAMES if name != "C"])
MIB = 1024 * 1024


@every_level
async def test_a_guest_has_no_environment_but_ours(level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPWELL_TEST_SECRET", "sk-1")
    async with asyncio.timeout(60), confined(level, tmp_path) as link:
        ran = await run(link, "import os\ndef run(): return dict(os.environ)")
    assert {name: value for name, value in ran.value.items() if name not in ("PWD", "LC_CTYPE")} == ENVIRONMENT


@every_level
async def test_a_guest_has_four_descriptors(level: str, tmp_path: Path) -> None:
    source = """
import os
def run():
    found = []
    for fd in range(4096):
        try:
            found.append((fd, os.fstat(fd).st_mode >> 12))
        except OSError:
            pass
    return found
"""
    async with asyncio.timeout(60), confined(level, tmp_path) as link:
        ran = await run(link, source)
    assert ran.value == [[0, 2], [1, 1], [2, 1], [3, 12]]  # /dev/null, twice a pipe to the host, and a socket


@with_files
async def test_a_guest_writes_in_its_scratch_alone_and_nothing_stays(level: str, tmp_path: Path) -> None:
    source = """
import os
def run():
    os.makedirs("a/b")
    with open("a/b/c.txt", "w") as file:
        file.write("x")
    return os.listdir("a/b")
"""
    async with asyncio.timeout(60), confined(level, tmp_path) as link:
        first = await run(link, source)
        second = await run(link, "import os\ndef run(): return os.listdir('.')")
        left = [name for _, _, names in os.walk(tmp_path) for name in names if name == "c.txt"]
    assert first.value == ["c.txt"]
    assert second.value == []
    assert left == []
    assert names_in(tmp_path) == []


@with_files
async def test_a_scratch_that_is_deep_and_locked_is_removed(level: str, tmp_path: Path) -> None:
    source = """
import os
def run():
    for _ in range(1500):
        os.mkdir("d" * 100, 0o700)
        os.chdir("d" * 100)
    os.mkdir("closed", 0)
    return True
"""
    async with asyncio.timeout(60), confined(level, tmp_path) as link:
        await run(link, source)
    assert names_in(tmp_path) == []


@every_level
async def test_only_the_parts_for_guests_can_be_imported(level: str, tmp_path: Path) -> None:
    source = """
import importlib
def run():
    found = []
    ours = "stepwell.errors", "stepwell.model.run", "stepwell.store.database", "stepwell_sandbox.process"
    for name in (*ours, "msgspec", "pytest"):
        try:
            importlib.import_module(name)
        except ImportError:
            continue
        found.append(name)
    import stepwell.sdk, stepwell_sandbox.guest.boot
    return found
"""
    async with asyncio.timeout(60), confined(level, tmp_path) as link:
        ran = await run(link, source)
    assert ran.value == []


@every_level
async def test_random_numbers_differ_between_guests(level: str, tmp_path: Path) -> None:
    source = "import os\ndef run(): return os.urandom(8).hex()"
    async with asyncio.timeout(60), confined(level, tmp_path) as link:
        assert (await run(link, source)).value != (await run(link, source)).value


@every_level
async def test_asyncio_and_threads_work(level: str, tmp_path: Path) -> None:
    source = """
import asyncio
async def work(n):
    await asyncio.sleep(0.001)
    return await asyncio.to_thread(lambda: n * n)
async def all_of_them():
    return await asyncio.gather(*(work(n) for n in range(5)))
def run(): return asyncio.run(all_of_them())
"""
    async with asyncio.timeout(60), confined(level, tmp_path) as link:
        ran = await run(link, source)
    assert ran.value == [0, 1, 4, 9, 16]


@every_level
async def test_cpu_time_is_limited(level: str, tmp_path: Path) -> None:
    async with asyncio.timeout(60), confined(level, tmp_path) as link:
        ran = await run(link, "def run():\n    while True: pass", Limits(cpu_s=1))
    assert ran.exit is not None
    assert (ran.exit.signal, ran.exit.limit) == (9, "cpu_s")
    assert ran.exit.cpu_s >= 0.5  # the kernel counts whole ticks, which is too much on a busy machine


@every_level
async def test_memory_is_limited(level: str, tmp_path: Path) -> None:
    async with asyncio.timeout(60), confined(level, tmp_path) as link:
        ran = await run(link, "def run(): return len(bytearray(2 << 30))")
    assert ran.error is not None
    assert ran.error.error.type == "MemoryError"


@with_files
async def test_one_file_is_limited(level: str, tmp_path: Path) -> None:
    source = """
def run():
    with open("big", "wb") as file:
        file.write(bytes(3 << 20))
"""
    async with asyncio.timeout(60), confined(level, tmp_path) as link:
        ran = await run(link, source, Limits(file_bytes=1 * MIB))
    assert ran.error is not None
    assert ran.error.error.type == "OSError"


@pytest.mark.parametrize("level", ["A", "A2"])
async def test_what_is_deleted_and_open_counts_and_the_next_run_finds_nothing(level: str, tmp_path: Path) -> None:
    source = """
import os
def run():
    found, held = os.listdir("."), []
    try:
        for n in range(40):
            held.append(open(str(n), "wb", buffering=0))
            os.unlink(str(n))
            held[-1].write(bytes(8 << 20))
    except OSError as error:
        open("left", "w").close()
        return [found, error.errno, len(held)]
"""
    async with asyncio.timeout(60), confined(level, tmp_path) as link:
        for _ in range(3):
            ran = await run(link, source)
            assert ran.value == [[], errno.ENOSPC, 9]


@with_files
async def test_the_whole_scratch_is_limited(level: str, tmp_path: Path) -> None:
    source = """
import time
def run():
    for number in range(64):
        with open(f"f{number}", "wb") as file:
            file.write(bytes(1 << 20))
    time.sleep(20)
"""
    async with asyncio.timeout(60), confined(level, tmp_path) as link:
        ran = await run(link, source, Limits(scratch_bytes=8 * MIB))
    if level == "A":
        assert ran.error is not None
        assert "No space left" in ran.error.error.message
    else:
        assert ran.exit is not None
        assert ran.exit.limit == "scratch_bytes"


@every_level
async def test_open_files_are_limited(level: str, tmp_path: Path) -> None:
    source = """
import os
def run():
    count = 0
    try:
        while True:
            os.dup(0)
            count += 1
    except OSError:
        return count
"""
    async with asyncio.timeout(60), confined(level, tmp_path) as link:
        ran = await run(link, source, Limits(open_files=32))
    assert ran.value == 28


@every_level
@pytest.mark.skipif(os.getuid() == 0, reason="the kernel has no thread limit for root")
async def test_threads_are_limited(level: str, tmp_path: Path) -> None:
    source = """
import threading
def run():
    stop = threading.Event()
    threading.stack_size(65536)
    count = 0
    try:
        for count in range(5000):
            threading.Thread(target=stop.wait, daemon=True).start()
    except RuntimeError:
        return count
"""
    async with asyncio.timeout(60), confined(level, tmp_path) as link:
        ran = await run(link, source)
    assert 32 <= ran.value < 512


@every_level
async def test_a_crash_is_told_apart_from_a_limit(level: str, tmp_path: Path) -> None:
    async with asyncio.timeout(60), confined(level, tmp_path) as link:
        ended = await run(link, "import os\ndef run(): os._exit(7)")
        crashed = await run(link, "import ctypes\ndef run(): ctypes.string_at(0)")
    assert ended.exit is not None
    assert (ended.exit.signal, ended.exit.code, ended.exit.limit) == (None, 7, None)
    assert crashed.exit is not None
    assert (crashed.exit.signal, crashed.exit.limit) == (11, None)
