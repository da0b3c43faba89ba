"""`durability="step"`: the body goes on after a step when its result is on disk."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from stepwell.errors import ConfigError, InvalidSource
from stepwell_server import Session
from stepwell_server.settings import parse_settings
from support.server import make_home

STEPS = """
import asyncio

async def run(ctx, held: bool = False):
    first = await ctx.step("first", lambda: 1)
    more = await ctx.parallel(*(ctx.step("more", lambda n=n: n) for n in range(8)))
    async with ctx.step("block") as s:
        s.value = await ctx.step("inside", lambda: 3)
    nested = await ctx.step("outer", lambda: ctx.step("inner", lambda: 4))
    try:
        await ctx.step("fails", lambda: 1 / 0)
    except ZeroDivisionError:
        pass
    if held:
        await ctx.wait_for_user("?")
    return [first, more, s.value, nested]
"""
BLOCKING = """
def run(ctx, held: bool = False):
    first = ctx.step("first", lambda: 1)
    more = ctx.parallel(*(lambda n=n: n for n in range(8)))
    nested = ctx.step("outer", lambda: ctx.step("inner", lambda: 4), timeout=30)
    if held:
        ctx.wait_for_user("?")
    return [first, more, nested]
"""
OPTION = 'options = dict(durability="step")\n'


class Watch:
    """Counts the host's commits, and makes each take as long as on a slow disk."""

    def __init__(self, session: Session, monkeypatch: pytest.MonkeyPatch, *, disk_s: float = 0.0) -> None:
        self.commits = 0
        database = session.app.database
        write = database.write

        async def counted(fn: Any) -> Any:
            self.commits += 1
            await asyncio.sleep(disk_s)
            return await write(fn)

        monkeypatch.setattr(database, "write", counted)


@pytest.mark.parametrize("source", [STEPS, BLOCKING], ids=["async", "blocking"])
@pytest.mark.asyncio
async def test_the_result_is_the_same_and_a_replay_finds_it(home: Path, source: str):
    async with Session(home) as session:
        await session.add_workflow("flow", OPTION + source)
        run = await session.run("flow", held=True)
        assert run.error is None, run.error
    async with Session(home) as session:
        run = await session.wait(await session.answer(run.id, "go"))

    assert run.error is None, run.error
    assert run.output[0:2] == [1, [0, 1, 2, 3, 4, 5, 6, 7]]
    assert run.output[-1] == 4


@pytest.mark.asyncio
async def test_steps_beside_each_other_share_commits(home: Path, monkeypatch: pytest.MonkeyPatch):
    source = OPTION + (
        "async def run(ctx):\n    await ctx.parallel(*(ctx.step('s', lambda n=n: n) for n in range(200)))\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        watch = Watch(session, monkeypatch, disk_s=0.02)
        run = await session.run("flow")

    assert run.error is None, run.error
    assert watch.commits < 60


@pytest.mark.asyncio
async def test_the_operator_can_ask_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = "def run(ctx):\n    for n in range(100):\n        ctx.step('s', lambda: n)\n"
    commits: dict[str, int] = {}
    for mode, disk_s in (("group", 0.05), ("step", 0.0)):
        home = make_home(tmp_path / mode, f'[workers]\ndurability = "{mode}"\n')
        async with Session(home) as session:
            await session.add_workflow("flow", source)
            watch = Watch(session, monkeypatch, disk_s=disk_s)
            run = await session.run("flow")
            assert run.error is None, run.error
            commits[mode] = watch.commits

    assert commits["group"] < 50
    assert commits["step"] >= 100


@pytest.mark.asyncio
async def test_another_value_is_refused_with_the_valid_ones(home: Path):
    async with Session(home) as session:
        with pytest.raises(InvalidSource, match='durability is "group" or "step", not \'fsync\'') as refused:
            await session.add_workflow("flow", 'options = dict(durability="fsync")\ndef run(): pass\n')
    assert refused.value.line == 1

    with pytest.raises(ConfigError, match="durability"):
        parse_settings('[workers]\ndurability = "always"\n')


@pytest.mark.asyncio
async def test_a_cancelled_branch_waits_for_no_disk(home: Path):
    source = OPTION + (
        "import asyncio\n\nasync def run(ctx):\n    tasks = [asyncio.create_task(branch(n)) for n in range(5)]\n"
        "    await ctx.step('one', lambda: 1)\n    for task in tasks: task.cancel()\n"
        "    got = await asyncio.gather(*tasks, return_exceptions=True)\n    await ctx.wait_for_user('?')\n"
        "    return [type(item).__name__ for item in got]\n\n"
        "async def branch(n):\n    for i in range(50):\n        await ctx.step('s', lambda: i)\n    return n\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow")
        assert run.error is None, run.error
    async with Session(home) as session:
        async with asyncio.timeout(60):
            run = await session.wait(await session.answer(run.id, "go"))

    assert run.error is None, run.error
    assert run.output == ["CancelledError"] * 5
