"""What a branch was about to do when it was cancelled is not done on a replay either."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Literal

import pytest

from stepwell.model import RunStatus
from stepwell_server import Session
from support.outside import Outside

# `other` keeps a call open, so that a function of `victim` has to wait for a thread; `first` ends before it gets one.
BRANCHES = """
import asyncio

async def slow_replay():
    for _ in range(5):
        sum(range((ctx.attempt - 1) * 1_000_000))
        await asyncio.sleep(0)

async def run(ctx, base: str):
    other = asyncio.create_task(ctx.step('other', tools.fetch, url=base + '/gate/other'))
    first = asyncio.create_task(ctx.step('first')('first'))
    victim = asyncio.create_task(VICTIM)
    LAST
    first.add_done_callback(lambda _: victim.cancel())
    await asyncio.wait([first, victim])
    tools.curl.post(url=base + '/effect/cancelled', json={})
    await other
    await ctx.wait_for_user('?')
    return [first.result(), victim.cancelled(), other.done()]
"""
VICTIMS = {
    "in_a_function": (
        "ctx.step('victim', late, base)",
        "def late(base):\n    return tools.fetch(url=base + '/gate/late')\n",
        "",
    ),
    "after_a_sleep": (
        "ctx.step('victim', late, base)",
        "import asyncio\n\nasync def late(base):\n    await asyncio.sleep(10 / ctx.attempt**10)\n"
        "    return tools.fetch(url=base + '/late')\n",
        "slow = asyncio.create_task(slow_replay())",
    ),
    "made_of_steps": (
        "ctx.step('victim', ctx.parallel(ctx.step(tools.fetch, url=base + '/gate/late'), ctx.step(str, 1)))",
        "",
        "",
    ),
    "of_a_task": (
        "ctx.step('victim', asyncio.ensure_future(late(base)))",
        "async def late(base):\n    await ctx.step(tools.fetch, url=base + '/gate/late')\n"
        "    return tools.fetch(url=base + '/later')\n",
        "",
    ),
    "under_way": ("ctx.step('victim', tools.fetch, url=base + '/gate/late')", "", ""),
}


@pytest.mark.parametrize("options", ["", 'options = dict(durability="step")\n'], ids=["group", "step"])
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.asyncio
async def test_a_cancelled_step_asks_for_nothing_on_a_replay(home: Path, outside: Outside, victim: str, options: str):
    work, function, last = VICTIMS[victim]
    source = options + function + BRANCHES.replace("VICTIM", work).replace("LAST", last)
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.start("flow", base=outside.url)
        await asyncio.to_thread(outside.wait_for_effect, "cancelled")
        outside.open_gate("other", "late")
        run = await session.wait(run)
        assert run.error is None, run.error
    before = Counter(outside.reads)
    async with Session(home) as session:
        run = await session.wait(await session.answer(run.id, "go"))

    assert run.error is None, run.error
    assert run.output == ["first", True, True]
    assert outside.reads == before
    assert "victim" not in run.step_results


async def decided(session: Session, run_id: str) -> bool:
    journal = await session.app.engine.journal(run_id)
    return any(entry.kind == "approval" and entry.status != "open" for entry in journal)


@pytest.mark.parametrize("decision", ["approve", "reject"])
@pytest.mark.asyncio
async def test_a_step_that_was_cancelled_in_its_gate_has_no_result_on_a_replay(
    home: Path, outside: Outside, decision: Literal["approve", "reject"]
):
    """The decision has come, and is in the journal; the step was cancelled before it went on."""
    source = (
        "import asyncio\n\nasync def run(ctx, base: str):\n"
        "    victim = asyncio.create_task(ctx.step('victim', requires_approval=True)('value'))\n"
        "    await ctx.step(tools.fetch, url=base + '/begun')\n"
        "    tools.fetch(url=base + '/gate/blocks')\n"
        "    victim.cancel()\n"
        "    await asyncio.wait([victim])\n"
        "    await ctx.wait_for_user('?')\n"
        "    return victim.cancelled()\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.start("flow", base=outside.url)
        await asyncio.to_thread(outside.wait_for_read, "blocks")
        await session.app.engine.decide(run.id, decision, via="cli")
        async with asyncio.timeout(60):
            while not await decided(session, run.id):  # noqa: ASYNC110  the run's holder takes it, and says so nowhere
                await asyncio.sleep(0.01)
        outside.open_gate("blocks")
        run = await session.wait(run)
        assert run.error is None, run.error
        before = await session.app.engine.journal(run.id)
    async with Session(home) as session:
        run = await session.wait(await session.answer(run.id, "go"))
        after = await session.app.engine.journal(run.id)

    assert run.error is None, run.error
    assert run.output is True
    assert [entry.key for entry in before if "victim" in entry.key] == ["victim!approval"]
    assert [entry.key for entry in after] == [entry.key for entry in before]


@pytest.mark.asyncio
async def test_branches_of_the_body_begin_in_their_place_on_a_replay(home: Path, outside: Outside):
    source = (
        "import asyncio\n\nasync def run(ctx, base: str):\n    order = []\n"
        "    async def branch(n):\n        order.append(f'begins {n}')\n"
        "        await ctx.step(f'one-{n}')(n)\n        order.append(f'ends {n}')\n"
        "    async def first():\n        await ctx.parallel(branch(1), branch(2))\n"
        "    async def second():\n        await ctx.step('two')(2)\n        order.append('second')\n"
        "        await ctx.gather(a=branch(3), b=branch(4))\n"
        "    await asyncio.gather(first(), second())\n"
        "    await ctx.step('keep', lambda x: x, order)\n    await ctx.wait_for_user('?')\n    return order\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow", base=outside.url)
        assert run.error is None, run.error
    async with Session(home) as session:
        run = await session.wait(await session.answer(run.id, "go"))

    assert run.error is None, run.error
    assert run.output == run.step_results["keep"]


@pytest.mark.asyncio
async def test_a_run_whose_starter_is_cancelled_is_worked_on_all_the_same(home: Path) -> None:
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("one", "def run():\n    return 1\n")
        for n in range(40):  # a moment later each, from before the run is stored to after it has been taken up
            start = asyncio.create_task(session.start("one"))
            await asyncio.wait([start], timeout=n / 10_000)
            start.cancel()
            await asyncio.wait([start])
        stored = [run.id for run in (await session.app.engine.list()).items]
        ended = [await session.wait(run) for run in stored]

    assert len(ended) > 10
    assert {(run.status, run.attempts) for run in ended} == {(RunStatus.COMPLETED, 1)}
