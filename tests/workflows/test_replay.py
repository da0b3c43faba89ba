"""What must be the same on a replay, each shown by a run that is taken up again."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from stepwell_server import Session
from support.outside import Outside


async def run_twice(home: Path, source: str, **inputs: Any) -> Any:
    """Run to the question at the end, answer it in another session, and return the run."""
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow", **inputs)
        assert run.error is None, run.error
    async with Session(home) as session:
        return await session.wait(await session.answer(run.id, "go"))


@pytest.mark.asyncio
async def test_the_clock_of_the_body_shows_the_same_times(home: Path, outside: Outside):
    source = (
        "async def run(ctx, base: str):\n    tools.fetch(url=base + '/a')\n    when = ctx.now().isoformat()\n"
        "    await ctx.step('keep', lambda x: x, when)\n    await ctx.wait_for_user('?')\n    return [when, str(ctx.uuid())]\n"
    )

    run = await run_twice(home, source, base=outside.url)

    assert run.error is None
    assert run.output[0] == run.step_results["keep"]


@pytest.mark.asyncio
async def test_sets_of_tasks_and_completions_come_in_the_same_order(home: Path, outside: Outside):
    source = (
        "import asyncio\n\nasync def work(ctx, n):\n    return await ctx.step('w', lambda: n)\n\n"
        "async def run(ctx, base: str):\n    junk = [object() for _ in range(ctx.attempt * 37)]\n    order = []\n"
        "    for n, next_one in enumerate(asyncio.as_completed([work(ctx, i) for i in range(9)])):\n"
        "        order.append(await next_one)\n"
        "    tasks = {asyncio.create_task(work(ctx, i)) for i in range(9)}\n    done, _ = await asyncio.wait(tasks)\n"
        "    for task in done:\n        tools.fetch(url=f'{base}/{task.result()}')\n        order.append(task.result())\n"
        "    await ctx.step('keep', lambda x: x, order)\n    await ctx.wait_for_user('?')\n    return order\n"
    )

    run = await run_twice(home, source, base=outside.url)

    assert run.error is None
    assert run.output == run.step_results["keep"]


@pytest.mark.parametrize("kind", ["async def", "def"])
@pytest.mark.asyncio
async def test_callables_in_parallel_are_steps_that_overlap(home: Path, outside: Outside, kind: str):
    wait = "await " if kind == "async def" else ""
    source = (
        f"import json\n{kind} run(ctx, base: str):\n"
        "    def get(name):\n        return json.loads(tools.fetch(url=f'{base}/gate/{name}'))['read']\n"
        f"    got = {wait}ctx.parallel(lambda: get('a'), lambda: get('b'))\n"
        f"    named = {wait}ctx.gather(x=lambda: 1, y=lambda: 2)\n"
        f"    {wait}ctx.wait_for_user('?')\n    return [got, named]\n"
    )
    outside.open_gate("a", "b")

    run = await run_twice(home, source, base=outside.url)

    assert run.error is None
    assert run.output == [["a", "b"], {"x": 1, "y": 2}]
    assert outside.reads == {"a": 1, "b": 1}


@pytest.mark.asyncio
async def test_a_body_that_polls_gets_its_outcomes(home: Path, outside: Outside):
    source = (
        "import asyncio\n\nasync def run(ctx, base: str):\n"
        "    task = asyncio.create_task(ctx.step(tools.fetch, url=base + '/a'))\n"
        "    while not task.done():\n        await asyncio.sleep(0)\n    await ctx.wait_for_user('?')\n    return 'polled'\n"
    )

    run = await run_twice(home, source, base=outside.url)

    assert run.output == "polled"


@pytest.mark.asyncio
async def test_a_thread_of_the_body_is_a_step(home: Path, outside: Outside):
    source = (
        "import asyncio\n\nasync def run(ctx, base: str):\n"
        "    text = await asyncio.to_thread(tools.fetch, url=base + '/a')\n    await ctx.wait_for_user('?')\n    return text\n"
    )

    run = await run_twice(home, source, base=outside.url)

    assert run.error is None
    assert '"read": "a"' in run.output
    assert outside.reads == {"a": 1}


@pytest.mark.asyncio
async def test_a_key_that_is_used_twice_is_the_authors_error(home: Path):
    async with Session(home) as session:
        run = await session.run_code(
            "await ctx.step('a', lambda: 1, key='k')\nawait ctx.step('b', lambda: 2, key='k')\n"
        )

    assert run.error is not None
    assert (run.error.type, run.error.line) == ("ValueError", 2)
    assert "key='k' is used twice" in run.error.message


@pytest.mark.asyncio
async def test_a_deadline_that_passed_passes_again_at_the_same_place(home: Path, outside: Outside):
    source = (
        "import asyncio\n\nasync def run(ctx, base: str):\n    got = []\n"
        "    try:\n        await asyncio.wait_for(ctx.step(tools.fetch, url=base + '/gate/never'), 0.2)\n"
        "    except TimeoutError:\n        got.append('timeout')\n"
        "    task = asyncio.create_task(ctx.step(tools.fetch, url=base + '/gate/late'))\n"
        "    done, pending = await asyncio.wait([task], timeout=0.1)\n    got += [len(done), len(pending)]\n"
        "    tools.curl.post(url=base + '/effect/open', json={})\n    await task\n"
        "    async with asyncio.timeout(60):\n        got.append(await ctx.step('quick')('quick'))\n"
        "    await ctx.step('keep', lambda x: x, got)\n    await ctx.wait_for_user('?')\n    return got\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.start("flow", base=outside.url)
        await asyncio.to_thread(outside.wait_for_effect, "open")
        outside.open_gate("late")
        run = await session.wait(run)
        assert run.error is None, run.error
    outside.open_gate("never")  # on the replay it would be answered before any deadline
    async with Session(home) as session:
        run = await session.wait(await session.answer(run.id, "go"))

    assert run.error is None
    assert run.output == run.step_results["keep"] == ["timeout", 0, 1, "quick"]
