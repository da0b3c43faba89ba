"""Concurrency, deadlines and versions, each by the smallest workflow that shows what must hold."""

import asyncio
from pathlib import Path

import pytest

from stepwell.engine import StartOptions
from stepwell.model import RunStatus
from stepwell_server import Session
from support.outside import Outside
from support.server import LOCAL_HTTP, make_home


@pytest.mark.asyncio
async def test_a_body_that_returns_with_an_open_wait_is_finished(home: Path):
    source = (
        "import asyncio\nasync def run(ctx):\n"
        "    a, b = (asyncio.create_task(ctx.wait_for_user(q)) for q in 'ab')\n"
        "    await asyncio.wait({a, b}, return_when=asyncio.FIRST_COMPLETED)\n    return 'first'\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow")
        run = await session.answer(run, "x", key=run.waiting_for[0].key)

    assert (run.status, run.output) == (RunStatus.COMPLETED, "first")


@pytest.mark.asyncio
async def test_a_body_that_returns_with_an_open_timer_does_not_sleep(home: Path):
    source = (
        "import asyncio\nasync def run(ctx):\n    task = asyncio.create_task(ctx.sleep(600, name='far'))\n"
        "    await ctx.sleep(0.1)\n    return 'done'\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow")

    assert (run.status, run.output) == (RunStatus.COMPLETED, "done")


@pytest.mark.asyncio
async def test_a_call_in_flight_at_a_time_out_is_not_made_again_by_the_next_attempt(home: Path, outside: Outside):
    source = (
        "def pay(base):\n    return tools.curl.post(url=base + '/hold/effect/pay', json={})\n"
        "async def run(ctx, base: str):\n"
        "    return await ctx.step(pay, base, retries=1, retry_delay=0, timeout=0.3)\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.start("flow", None, base=outside.url)
        await asyncio.to_thread(outside.wait_for_effect, "pay")
        await session.wait(run, 2)

    assert outside.effects == {"pay": 1}


@pytest.mark.asyncio
async def test_a_wait_in_a_step_with_a_timeout_is_parked(tmp_path: Path, outside: Outside):
    home = make_home(tmp_path / "gated", LOCAL_HTTP + '[policy]\ntools = {"curl.post" = "approve"}\n')
    source = (
        "def pay(base):\n    return tools.curl.post(url=base + '/effect/pay', json={})\n"
        "async def run(ctx, base: str):\n    return await ctx.step(pay, base, timeout=60)\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.wait(await session.start("flow", None, base=outside.url), 60)

    assert run.status is RunStatus.WAITING


@pytest.mark.asyncio
async def test_a_generator_as_a_steps_argument_is_not_used_up(home: Path):
    source = "async def run(ctx):\n    return await ctx.step('total', sum, (n for n in [1, 2, 3]))\n"
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow")

    assert run.output == 6


@pytest.mark.asyncio
async def test_parallel_works_in_sync_steps_that_run_beside_each_other(home: Path):
    source = (
        "def both(n):\n    return ctx.parallel(lambda: n, lambda: n + 1)\n"
        "async def run(ctx):\n    return await ctx.parallel(ctx.step(both, 1), ctx.step(both, 10))\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.wait(await session.start("flow"), 60)

    assert run.output == [[1, 2], [10, 11]], run.error


@pytest.mark.asyncio
async def test_a_child_on_another_process_lets_its_parent_pause(tmp_path: Path):
    home = make_home(tmp_path / "narrow", LOCAL_HTTP + "[workers]\nconcurrency = 1\n")
    async with Session(home) as first, Session(home) as second:
        # The other process shall be the faster one to take the child up.
        services = first.app.engine._services  # pyright: ignore[reportPrivateUsage]
        services.runs.yield_slot = lambda run_id: None
        await first.add_workflow("kid", "def run(ctx):\n    return ctx.wait_for_user('?')\n")
        await first.add_workflow("flow", "def run():\n    return workflows.invoke('kid')\n")
        run = await first.wait(await first.start("flow"), 60)
        child = await second.get(run.waiting_for[0].context["run_id"])

    assert child.status is RunStatus.WAITING
    assert run.status is RunStatus.WAITING


@pytest.mark.asyncio
async def test_a_run_keeps_the_version_of_a_workflow_that_it_invokes_twice(home: Path):
    async with Session(home) as session:
        await session.add_workflow("kid", "def run():\n    return 'old'\n")
        await session.add_workflow(
            "flow",
            "def run(ctx):\n    a = workflows.invoke('kid')\n    ctx.wait_for_user('?')\n"
            "    return [a, workflows.invoke('kid')]\n",
        )
        run = await session.run("flow")
        await session.add_workflow("kid", "def run():\n    return 'new'\n", replace=True)
        run = await session.answer(run, "go")

    assert run.output == ["old", "old"]


@pytest.mark.asyncio
async def test_a_default_that_is_spelled_out_is_the_same_start(home: Path):
    options = StartOptions(idempotency_key="k")
    async with Session(home) as session:
        await session.add_workflow("flow", "def run(a: int, b: int = 2):\n    return a\n")
        first = await session.start("flow", options, a=1, b=2)
        second = await session.start("flow", options, a=1)

    assert first.id == second.id


@pytest.mark.asyncio
async def test_a_question_that_nobody_waits_for_any_more_is_not_asked(home: Path):
    source = (
        "import asyncio\nasync def run(ctx):\n    try:\n        async with asyncio.timeout(0.1):\n"
        "            await ctx.wait_for_user('old')\n    except TimeoutError:\n        pass\n"
        "    await ctx.wait_for_user('new')\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.wait(await session.start("flow"), 60)

    assert [wait.prompt for wait in run.waiting_for] == ["new"]


@pytest.mark.asyncio
async def test_a_long_deadline_of_the_body_does_not_keep_the_process(home: Path):
    source = "import asyncio\nasync def run(ctx):\n    return await asyncio.wait_for(ctx.wait_for_user('?'), 3600)\n"
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.wait(await session.start("flow"), 60)

    assert run.status is RunStatus.WAITING
