"""Where programs, people and failures meet in unusual ways."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mcp_clients import call, in_memory
from stepwell.engine import Event, StartOptions
from stepwell.errors import Conflict
from stepwell.model import RunStatus
from stepwell_server import Session
from support.outside import Outside
from support.server import LOCAL_HTTP, make_home


async def run_source(home: Path, source: str, /, **inputs: Any) -> Any:
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        return await session.run("flow", **inputs)


async def answer_in_another_session(home: Path, source: str, /, **inputs: Any) -> Any:
    run = await run_source(home, source, **inputs)
    assert run.status is RunStatus.WAITING, run.error
    async with Session(home) as session:
        return await session.wait(await session.answer(run.id, "go"))


# -- programs ------------------------------------------------------------------------------------------------------

NESTED_TASKS = """
import asyncio

async def nest(ctx, n):
    if n:
        return await asyncio.gather(nest(ctx, n - 1))
    return await ctx.step("s", int)

async def run(ctx):
    await nest(ctx, 800)
"""
NESTED_STEPS = """
async def nest(ctx, n):
    return await ctx.step("n" * 190, nest, ctx, n - 1) if n else 1

async def run(ctx):
    await nest(ctx, 12)
"""
MISTAKES = {
    "await ctx.step('s', lambda: list(range(150_000)))": "the result of step 's' has 150000 parts",
    "await ctx.step('s', int, key='k' * 5000)": "a key is 1 to 1700 printable characters",
    "await ctx.step('s', int, key='a\\nb')": "a key is 1 to 1700 printable characters",
    "await ctx.step('s', int, key=5)": "a key is 1 to 1700 printable characters, not '5'",
    "await ctx.batch(str, [1], key='k', name='a\\nb')": "a name is 1 to 200 printable characters",
    "await ctx.step('s', int, timeout=float('nan'))": "timeout is a number from 0 to",
    "await ctx.wait_for_event('e', timeout=float('inf'))": "timeout is a number of seconds from 0 to a hundred years",
    NESTED_TASKS: "is nested too deep: its place in the program has 2401 characters",
    NESTED_STEPS: "is nested too deep",
}


@pytest.mark.asyncio
async def test_what_the_host_would_not_take_fails_at_its_line_and_can_be_caught(home: Path):
    async with asyncio.timeout(60), Session(home) as session:
        for n, (code, said) in enumerate(MISTAKES.items()):
            source = code if "def run" in code else f"async def run(ctx):\n    {code}\n"
            await session.add_workflow(f"flow{n}", source)
            run = await session.run(f"flow{n}")

            assert run.error is not None, code
            assert run.error.type in ("ValueError", "TypeError", "CodecError"), code
            assert said in run.error.message


@pytest.mark.asyncio
async def test_delays_and_dates_have_an_end(home: Path):
    """`until` of a hostile guest included: no list of runs may stumble over it."""
    source = (
        "from stepwell.sdk.runtime import runtime\n\nasync def run(ctx):\n    ctx.progress(1, 2, {'any': 'thing'})\n"
        "    try:\n        await ctx.step('many', int, 'x', retries=1100, retry_delay=0, backoff='exponential')\n"
        "    except ValueError:\n        await runtime().call('timer', 'x', [], {'until': 1e300}, 'x')\n"
    )
    async with asyncio.timeout(60), in_memory(home, "auto") as client:
        await call(client, "create_workflow", name="flow", source=source)
        run = await call(client, "invoke_workflow", name="flow")

        assert (run["status"], run["step_results"]) == ("sleeping", {})
        assert run["next"].startswith("Sleeps until 21")
        assert (await call(client, "list_runs"))["runs"][0]["run_id"] == run["run_id"]


@pytest.mark.asyncio
async def test_stop_iteration_in_a_step_is_an_error_also_in_threads(home: Path):
    source = (
        "def f():\n    return next(iter([]))\nasync def run(ctx):\n    await ctx.parallel(ctx.step(f), ctx.step(f))\n"
    )

    run = await run_source(home, source)

    assert run.error is not None
    assert (run.error.type, run.error.step) == ("RuntimeError", "f")
    assert "StopIteration" in run.error.message


@pytest.mark.asyncio
async def test_asyncio_run_inside_of_a_plain_function_works(home: Path):
    source = (
        "import asyncio\n\ndef run(ctx):\n    async def main():\n        await asyncio.sleep(0.01)\n"
        "        one = await ctx.step('one')(1)\n        return one + await ctx.step('two', lambda: 2)\n"
        "    got = asyncio.run(main())\n    ctx.wait_for_user('?')\n    return got\n"
    )

    run = await answer_in_another_session(home, source)

    assert run.error is None
    assert run.output == 3


@pytest.mark.asyncio
async def test_a_plain_step_may_run_an_async_one_inside(home: Path):
    source = (
        "import asyncio\n\nasync def inner():\n    return 1\n\ndef outer():\n    return ctx.step(inner)\n\n"
        "async def slow():\n    await asyncio.sleep(0.02)\n    return 2\n\n"
        "async def run(ctx):\n    return [await ctx.step(outer), await ctx.step(slow)]\n"
    )

    run = await run_source(home, source)

    assert run.error is None
    assert run.output == [1, 2]


@pytest.mark.asyncio
async def test_a_generator_function_is_a_step_with_its_calls(home: Path, outside: Outside):
    source = (
        "import json\n\ndef pages(base):\n    for n in range(2):\n"
        "        yield json.loads(tools.fetch(url=f'{base}/{n}'))['read']\n\n"
        "async def run(ctx, base: str):\n    got = await ctx.step(pages, base)\n    await ctx.wait_for_user('?')\n"
        "    return got\n"
    )

    run = await answer_in_another_session(home, source, base=outside.url)

    assert run.error is None
    assert run.output == ["0", "1"]
    assert outside.reads == {"0": 1, "1": 1}


@pytest.mark.asyncio
async def test_calls_that_were_made_already_are_refused_with_retries(home: Path):
    run = await run_source(home, "async def run(ctx):\n    await ctx.step('a', ctx.step('b')(1), retries=2)\n")

    assert run.error is not None
    assert run.error.type == "TypeError"
    assert "pass the function and its arguments" in run.error.message


@pytest.mark.asyncio
async def test_work_made_of_steps_is_dropped_whole_when_its_step_is_restored(home: Path):
    source = (
        "async def run(ctx):\n    got = await ctx.step('all', ctx.parallel(ctx.step('a')(1), ctx.step('b')(2)))\n"
        "    await ctx.wait_for_user('?')\n    return got\n"
    )

    run = await answer_in_another_session(home, source)

    assert run.error is None
    assert run.output == [1, 2]


@pytest.mark.asyncio
async def test_the_delay_before_a_retry_is_kept_over_a_pause(home: Path, outside: Outside):
    source = (
        "def flaky(base):\n    tools.fetch(url=base + '/try')\n    raise ValueError('busy')\n\n"
        "async def run(ctx, base: str):\n"
        "    return await ctx.parallel(ctx.step(flaky, base, retries=1, retry_delay=300), ctx.wait_for_user('?'))\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow", base=outside.url)
        await session.answer(run, "go")
        async with asyncio.timeout(60):
            while run.status is not RunStatus.SLEEPING:
                run = await session.wait(run, 0.2)

    assert run.error is None
    assert outside.reads == {"try": 1}


# -- waits ---------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_children_of_threads_get_the_slot_of_their_parent(tmp_path: Path):
    home = make_home(tmp_path / "one", "[workers]\nconcurrency = 1\n")
    async with Session(home) as session:
        await session.add_workflow("kid", "def run(n):\n    return n\n")
        await session.add_workflow(
            "flow",
            "def f(n):\n    return workflows.invoke('kid', n=n)\n\n"
            "async def run(ctx):\n    return await ctx.parallel(ctx.step(f, 1), ctx.step(f, 2))\n",
        )
        run = await session.wait(await session.start("flow"), 60)

    assert run.error is None
    assert run.output == [1, 2]


@pytest.mark.asyncio
async def test_a_tool_that_needs_approval_parks_the_run_also_in_threads(tmp_path: Path, outside: Outside):
    home = make_home(tmp_path / "asks", LOCAL_HTTP + '[policy]\ntools = {"curl.post" = "approve"}\n')
    source = (
        "def post(base, name):\n    tools.curl.post(url=f'{base}/effect/{name}', json={})\n\n"
        "async def run(ctx, base: str):\n    await ctx.parallel(ctx.step(post, base, 'a'), ctx.step(post, base, 'b'))\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow", base=outside.url)
        assert run.status is RunStatus.WAITING
        assert outside.effects == {}
        for wait in run.waiting_for:
            assert wait.context["tool"] == "curl.post"
            await session.approve(run, key=wait.key, digest=wait.digest)
        run = await session.wait(run)

    assert run.error is None
    assert outside.effects == {"a": 1, "b": 1}


@pytest.mark.asyncio
async def test_a_decision_after_the_deadline_does_not_count(home: Path):
    source = "async def run(ctx):\n    await ctx.approve('?', timeout=300)\n"
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow")
        (wait,) = run.waiting_for
    with (
        closing(sqlite3.connect(home / "stepwell.db")) as database,
        database,
    ):  # as if nobody had been there when it passed
        database.execute("UPDATE waits SET until = until - 3600")
        database.execute("UPDATE runs SET wake_at = wake_at - 3600")
    async with Session(home) as session:
        with pytest.raises(Conflict):
            await session.approve(run.id, key=wait.key, digest=wait.digest)
        run = await session.wait(run.id, 60)

    assert run.status is RunStatus.REJECTED


# -- resuming ------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_resumed_parent_takes_its_failed_child_up_again(home: Path, outside: Outside):
    fetches = "def look(base):\n    import json\n    return json.loads(tools.fetch(url=base + '/try'))['count']\n\n"
    child = (
        fetches
        + "def check(base):\n    if look(base) == 1:\n        raise ValueError('busy')\n    return 'child'\n\n"
        + "def run(ctx, base):\n    return ctx.step(check, base)\n"
    )
    async with Session(home) as session:
        await session.add_workflow("kid", child)
        await session.add_workflow(
            "flow", "def run(base):\n    return 'parent of ' + workflows.invoke('kid', base=base)\n"
        )
        run = await session.run("flow", base=outside.url)
        assert run.status is RunStatus.FAILED
        run = await session.wait(await session.resume(run), 60)
        kids = await session.app.engine.list(workflow="kid")

    assert run.error is None
    assert run.output == "parent of child"
    assert kids.total == 1


@pytest.mark.asyncio
async def test_a_cancelled_parent_that_is_resumed_takes_its_child_up_again(home: Path):
    async with Session(home) as session:
        await session.add_workflow("kid", "async def run(ctx):\n    return await ctx.wait_for_user('?')\n")
        await session.add_workflow("flow", "def run():\n    return 'got ' + workflows.invoke('kid')\n")
        run = await session.run("flow")
        run = await session.cancel(run)
        assert run.status is RunStatus.CANCELLED
        run = await session.wait(await session.resume(run))
        assert run.status is RunStatus.WAITING
        await session.answer(run.waiting_for[0].context["run_id"], "it")
        run = await session.wait(run, 60)

    assert run.output == "got it"


@pytest.mark.asyncio
async def test_failures_that_were_handled_stay_when_a_run_is_resumed(home: Path, outside: Outside):
    source = (
        "import json\n\ndef boom(base, name):\n"
        "    if json.loads(tools.fetch(url=f'{base}/{name}'))['count'] == 1:\n        raise ValueError('boom')\n"
        "    return name\n\nasync def run(ctx, base: str):\n    try:\n        first = await ctx.step('first', boom, base, 'first')\n"
        "    except ValueError:\n        first = 'fallback'\n    try:\n        return [first, await ctx.step('last', boom, base, 'last')]\n"
        "    except ValueError:\n        raise RuntimeError('wrapped')\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow", base=outside.url)
        assert run.error is not None
        assert run.error.message == "wrapped"
        run = await session.wait(await session.resume(run))

    assert run.output == ["fallback", "last"]
    assert outside.reads == {"first": 1, "last": 2}


@pytest.mark.asyncio
async def test_a_run_in_doubt_can_be_discarded(home: Path, outside: Outside):
    outside.lose_answers("pay")
    async with Session(home) as session:
        await session.add_workflow("flow", "def run(base):\n    tools.curl.post(url=base + '/effect/pay', json={})\n")
        run = await session.run("flow", base=outside.url)
        assert run.status is RunStatus.IN_DOUBT
        run = await session.wait(await session.resume(run, "discard"))

    assert run.status is RunStatus.CANCELLED


# -- starting and watching -----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_one_idempotency_key_starts_one_run_however_many_ask(home: Path):
    options = StartOptions(idempotency_key="k")
    async with Session(home) as session:
        await session.add_workflow("flow", "def run():\n    return 1\n")
        started = await asyncio.gather(*(session.start("flow", options) for _ in range(6)))
        page = await session.app.engine.list()

    assert len({run.id for run in started}) == 1
    assert page.total == 1


@pytest.mark.asyncio
async def test_a_watcher_gets_every_event_up_to_the_last(home: Path):
    seen: list[Event] = []

    async def keep(event: Event) -> None:
        seen.append(event)

    async with Session(home) as session:
        await session.add_workflow("flow", "def run(ctx):\n    for n in range(150):\n        ctx.step('s')(n)\n")
        run = await session.start("flow")
        await session.app.engine.wait(run.id, 30, keep)

    assert [event.n for event in seen] == list(range(1, len(seen) + 1))
    assert len(seen) > 300
    assert seen[-1].type == "run.completed"
