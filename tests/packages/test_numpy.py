"""numpy from the real index: in the sandbox at every level that loads packages, and the same on a replay."""

import asyncio
from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from confined import start_frame
from packages.wheels import need_index, source
from stepwell.errors import PackagesUnavailable
from stepwell.packages import Shelf
from stepwell.ports.frames import Done, Failed, Replay
from stepwell.ports.sandbox import Limits
from stepwell_sandbox.interpreter import find_interpreter
from stepwell_sandbox.launch import LEVELS
from stepwell_sandbox.levels import start_proven
from stepwell_sandbox.link import Machine
from stepwell_sandbox.scratch import Folder
from stepwell_server import Session
from support.server import make_home

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("numpy")]

DRAW = """import numpy as np
generator = np.random.default_rng()

def read():
    shared = np.random.mtrand._rand
    return [np.random.rand(), np.random.normal(), int(np.random.randint(10**9)), shared.uniform(), generator.random(),
            float(np.random.default_rng().random()), np.random.permutation(9).tolist()]

async def branch(n):
    await ctx.sleep(0.01 * (3 - n))
    return read()

async def run(ctx, seed: int) -> list:
    got = [read(), *await ctx.parallel(*(branch(n) for n in range(3)))]
    got.append(await ctx.step("inside", lambda: [np.random.rand(), np.random.rand()]))
    got.append(read())
    np.random.seed(seed)
    got.append([np.random.rand(), np.linalg.inv(np.array([[1.0, 2.0], [3.0, 4.0]])).tolist()])
    await ctx.step("keep", lambda x: x, got)
    await ctx.wait_for_user("?")
    return got
"""
ATTACK = """import ctypes, mmap, os
import numpy as np

def works(attempt):
    try:
        attempt()
    except (OSError, ImportError):
        return False
    return True

def load_own():
    path = os.path.join(os.getcwd(), "own.so")
    library = next(os.path.join(folder, name) for folder, _, names in os.walk(os.path.dirname(np.__file__))
                   for name in names if name.startswith("_multiarray_umath"))
    with open(library, "rb") as one, open(path, "wb") as two:
        two.write(one.read())
    ctypes.CDLL(path)

def change_packages():
    open(np.__file__, "ab").close()

def add_a_package():
    open(os.path.join(os.path.dirname(os.path.dirname(np.__file__)), "new.py"), "w").close()

def machine_code():
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC).close()

def run():
    values = [float(np.linalg.det(np.eye(3))), np.fft.fft([1, 2, 3]).real.round(6).tolist(), np.random.rand() < 1]
    return [values, [f.__name__ for f in (load_own, change_packages, add_a_package, machine_code) if works(f)]]
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """A home in which numpy is installed."""
    home = make_home(tmp_path_factory.mktemp("numpy") / "home", '[packages]\nallow = ["numpy>=2"]\n')

    async def install() -> None:
        async with Session(home) as session:
            await session.add_workflow("draw", source(DRAW, "numpy>=2"))

    try:
        asyncio.run(install())
    except PackagesUnavailable as error:
        need_index(error.message)
    yield home
    for item in Shelf(home / "environments").list():
        Shelf(home / "environments").remove(item.id, item.used_at + 1)


@pytest.mark.parametrize("level", ["A", "A2", "B"])
@pytest.mark.asyncio
async def test_compiled_packages_load_and_a_workflow_cannot_load_code_of_its_own(
    home: Path, tmp_path: Path, level: str
):
    (item,) = Shelf(home / "environments").list()
    folder = Folder(tmp_path)
    try:
        machine = Machine(find_interpreter(), folder, packages=home / "environments" / item.id / "site")
        link = await start_proven(LEVELS[level], machine)
        process = await link.spawn(Limits(), lambda: None)
        await process.send(start_frame(ATTACK), Replay([], False))
        frames: list[Any] = []
        while not any(isinstance(frame, (Done, Failed)) for frame in frames) and (new := await process.receive()):
            frames += new
        await process.close()
        await link.close()
    finally:
        folder.remove()
    last = frames[-1]
    assert isinstance(last, Done), last
    values = msgspec.json.decode(last.value)
    assert values == [[1.0, [6.0, -1.5, -1.5], True], []]


@pytest.mark.asyncio
async def test_numbers_of_numpy_are_the_same_on_a_replay_and_others_in_another_run(home: Path):
    async with Session(home) as session:
        runs = [await session.run("draw", seed=7) for _ in range(2)]
        assert [run.error for run in runs] == [None, None]
    async with Session(home) as session:
        runs = [await session.answer(run.id, "go") for run in runs]
    for run in runs:
        assert run.error is None
        assert run.output == run.step_results["keep"]
    one, two = (run.output for run in runs)
    drawn = [number for part in one[:4] for number in part[:2]]
    assert len(set(drawn)) == len(drawn)
    assert one[0] != two[0]
    assert one[-1] == two[-1]


@pytest.mark.asyncio
async def test_an_array_is_no_value_and_the_error_says_what_to_pass(home: Path):
    body = (
        'import numpy as np\ndef run(ctx):\n    return {"kept": ctx.step("x", np.float64, 0.5), "one": np.arange(3)}\n'
    )
    async with Session(home) as session:
        await session.add_workflow("array", source(body, "numpy"), replace=True)
        run = await session.run("array")
    assert run.error is not None
    assert "numpy.ndarray, which cannot be stored; pass its .tolist()" in run.error.message
