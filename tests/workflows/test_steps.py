"""What a workflow can write with `ctx.step`, and what comes of it, through `Session` and a real sandbox."""

import asyncio
from pathlib import Path

import pytest

from stepwell.model import RunStatus
from stepwell_server import Session
from support.outside import Outside


async def run_source(home: Path, source: str, /, **inputs: object):
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        return await session.run("flow", **inputs)


FORMS = '''
"""Every form of a step."""
from functools import partial

def double(n: int) -> int:
    return n * 2

async def triple(n: int) -> int:
    return n * 3

async def run(ctx) -> dict:
    got = {}
    got["function"] = await ctx.step(double, 1)
    got["keywords"] = await ctx.step(double, n=2)
    got["async"] = await ctx.step(triple, 3)
    got["named"] = await ctx.step("named", double, 4)
    got["curried"] = await ctx.step("curried")(double, 5)
    got["value"] = await ctx.step("value")(6)
    got["plain"] = await ctx.step("plain", 7)
    got["coroutine"] = await ctx.step("coroutine")(triple(8))
    got["lambda"] = await ctx.step("lambda", lambda: 9)
    got["partial"] = await ctx.step(partial(double, 10))
    async with ctx.step("block") as step:
        step.value = 11
    got["block"] = step.value
    got["parallel"] = await ctx.step("parallel", ctx.parallel(ctx.step(double, 12), ctx.step(triple, 12)))
    return got
'''

SYNC_FORMS = """
def double(n: int) -> int:
    return n * 2

async def triple(n: int) -> int:
    return n * 3

def run(ctx) -> dict:
    got = {}
    got["function"] = ctx.step(double, 1)
    got["async"] = ctx.step(triple, 3)
    got["named"] = ctx.step("named", double, 4)
    got["curried"] = ctx.step("curried")(double, 5)
    got["value"] = ctx.step("value")(6)
    with ctx.step("block") as step:
        step.value = 11
    got["block"] = step.value
    return got
"""


@pytest.mark.row("A9", "A10", "N6", "N8", "N12", "N13")
@pytest.mark.asyncio
async def test_every_form_of_a_step_gives_its_value(home: Path):
    run = await run_source(home, FORMS)

    assert run.error is None
    assert run.output == {
        "function": 2, "keywords": 4, "async": 9, "named": 8, "curried": 10, "value": 6, "plain": 7, "coroutine": 24,
        "lambda": 9, "partial": 20, "block": 11, "parallel": [24, 36],
    }  # fmt: skip


@pytest.mark.asyncio
async def test_the_same_forms_block_in_plain_functions(home: Path):
    run = await run_source(home, SYNC_FORMS)

    assert run.error is None
    assert run.output == {"function": 2, "async": 9, "named": 8, "curried": 10, "value": 6, "block": 11}


@pytest.mark.row("N14", "N18", "N21")
@pytest.mark.asyncio
async def test_results_are_kept_by_step_name_in_order_and_repeated_names_stay_apart(home: Path):
    source = (
        "async def run(ctx):\n    for n in range(3):\n        await ctx.step('x')(n)\n    await ctx.step('y')('z')\n"
    )

    run = await run_source(home, source)

    assert run.step_results == {"x": 0, "x#2": 1, "x#3": 2, "y": "z"}
    assert run.completed_steps == ("x", "x#2", "x#3", "y")


RESUMED = """
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

@dataclass
class Note:
    text: str
    when: date
    price: Decimal

def research(base):
    tools.curl.post(url=base + "/effect/research", json={})
    return Note("found", date(2026, 1, 2), Decimal("1.10"))

async def run(ctx, base: str) -> dict:
    note = await ctx.step(research, base)
    parts = await ctx.parallel(ctx.step("a")({1, 2}), ctx.step("b")((3, 4)), ctx.step("c")(b"5"))
    answer = await ctx.wait_for_user("Go on?")
    return {
        "text": note.text, "day": note.when.day, "price": str(note.price * 2), "answer": answer,
        "kinds": [type(part).__name__ for part in parts], "replayed": ctx.attempt,
    }
"""


@pytest.mark.row("N7", "N19", "A31", "A9", "A38", "P33")
@pytest.mark.asyncio
async def test_results_keep_their_types_over_a_pause_and_a_new_process(home: Path, outside: Outside):
    async with Session(home) as session:
        await session.add_workflow("flow", RESUMED)
        run = await session.run("flow", base=outside.url)
    assert run.status is RunStatus.WAITING

    async with Session(home) as session:
        run = await session.wait(await session.answer(run, "yes"))

    assert run.error is None
    assert run.output == {
        "text": "found", "day": 2, "price": "2.20", "answer": "yes", "kinds": ["set", "tuple", "bytes"], "replayed": 2,
    }  # fmt: skip
    assert outside.effects == {"research": 1}
    assert run.skipped_steps == ("research", "a", "b", "c")


RETRIED = """
import json

def flaky(base, fails):
    if json.loads(tools.fetch(url=base + "/count/try"))["count"] <= fails:
        raise ValueError("not yet")
    return "ok"

async def run(ctx, base: str, fails: int) -> str:
    return await ctx.step(flaky, base, fails, retries=3, retry_delay=0)
"""


@pytest.mark.row("S10", "D14", "S40")
@pytest.mark.asyncio
async def test_retries_are_extra_attempts_and_each_is_in_the_timeline(home: Path, outside: Outside):
    async with Session(home) as session:
        await session.add_workflow("flow", RETRIED)
        run = await session.run("flow", base=outside.url, fails=2)
        events = [event.type for event in await session.timeline(run)]

    assert run.output == "ok"
    assert outside.reads == {"try": 3}
    assert [kind for kind in events if kind.startswith("step.")] == [
        "step.started", "step.failed", "step.started", "step.failed", "step.started", "step.completed",
    ]  # fmt: skip


@pytest.mark.row("N22", "P21")
@pytest.mark.asyncio
async def test_a_step_that_always_fails_fails_the_run_with_its_error(home: Path, outside: Outside):
    run = await run_source(home, RETRIED, base=outside.url, fails=99)

    assert run.status is RunStatus.FAILED
    assert outside.reads == {"try": 4}
    assert run.error is not None
    assert (run.error.type, run.error.message, run.error.step, run.error.attempt) == (
        "ValueError",
        "not yet",
        "flaky",
        4,
    )


@pytest.mark.row("A37", "N22")
@pytest.mark.asyncio
async def test_a_failed_run_goes_on_from_the_failed_step(home: Path, outside: Outside):
    source = (
        "import json\n"
        "def post(base, name):\n"
        "    return json.loads(tools.curl.post(url=f'{base}/effect/{name}', json={}))['count']\n"
        "def confirm(base):\n    post(base, 'mail')\n"
        "    if json.loads(tools.fetch(url=base + '/count/confirm'))['count'] == 1:\n"
        "        raise RuntimeError('busy')\n    return 'confirmed'\n"
        "async def run(ctx, base: str):\n"
        "    await ctx.step('charge', post, base, 'charge')\n"
        "    return await ctx.step(confirm, base)\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        failed = await session.run("flow", base=outside.url)
        run = await session.wait(await session.resume(failed))

    assert failed.status is RunStatus.FAILED
    assert run.output == "confirmed"
    assert outside.effects == {"charge": 1, "mail": 1}  # the failed attempt's own effect is not repeated either
    assert outside.reads == {"confirm": 2}
    assert run.skipped_steps == ("charge",)


@pytest.mark.row("S12")
@pytest.mark.parametrize("kind", ["async def", "def"])
@pytest.mark.asyncio
async def test_an_attempt_that_takes_too_long_fails(home: Path, kind: str):
    sleep = "import asyncio\n    await asyncio.sleep(30)" if kind == "async def" else "import time\n    time.sleep(30)"
    source = (
        f"{kind} slow():\n    {sleep}\n"
        "async def run(ctx):\n    await ctx.step(slow, timeout=0.05, retries=1, retry_delay=0)\n"
    )

    run = await run_source(home, source)

    assert run.status is RunStatus.FAILED
    assert run.error is not None
    assert (run.error.type, run.error.attempt) == ("TimeoutError", 2)
    assert "took longer than 0.05 s" in run.error.message


@pytest.mark.row("N9", "A13", "N21")
@pytest.mark.asyncio
async def test_parallel_steps_overlap_and_keep_their_order(home: Path, outside: Outside):
    source = (
        "def get(base, name):\n    tools.fetch(url=f'{base}/gate/{name}')\n    return name\n"
        "async def run(ctx, base: str):\n"
        "    return await ctx.parallel(*(ctx.step(get, base, name) for name in ('x', 'y', 'z')))\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.start("flow", base=outside.url)
        for name in "xyz":
            await asyncio.to_thread(outside.wait_for_read, name)  # all three are asked for before any is answered
        outside.open_gate("z", "y", "x")
        run = await session.wait(run)

    assert run.output == ["x", "y", "z"]


@pytest.mark.row("N23", "N24")
@pytest.mark.parametrize("form", ["return ctx.terminate('nothing found')", "ctx.terminate('nothing found')"])
@pytest.mark.asyncio
async def test_a_run_that_ends_itself_early_is_a_success_with_a_reason(home: Path, outside: Outside, form: str):
    source = (
        f"async def run(ctx, base: str):\n    try:\n        {form}\n    except:\n        pass\n"
        "    tools.curl.post(url=base + '/effect/late', json={})\n"
    )

    run = await run_source(home, source, base=outside.url)

    assert (run.status, run.terminated, run.termination_reason) == (RunStatus.TERMINATED, True, "nothing found")
    assert run.output is None
    assert run.error is None
    assert outside.effects == {}


@pytest.mark.asyncio
async def test_a_step_that_is_never_awaited_fails_the_run_with_its_line(home: Path):
    run = await run_source(home, "async def run(ctx):\n    ctx.step('lost', lambda: 1)\n    return 2\n")

    assert run.error is not None
    assert "'lost', made in line 2, was never awaited" in run.error.message


@pytest.mark.asyncio
async def test_a_value_that_cannot_be_kept_fails_at_its_step(home: Path):
    run = await run_source(home, "async def run(ctx):\n    await ctx.step('handle', lambda: print)\n")

    assert run.error is not None
    assert run.error.step == "handle"
    assert "cannot be stored" in run.error.message


@pytest.mark.row("A12")
@pytest.mark.asyncio
async def test_a_direct_call_runs_again_on_replay_a_step_does_not_and_prints_are_not_repeated(home: Path):
    source = (
        "async def seen(name):\n    print('ran', name)\n    return ctx.attempt\n"
        "async def run():\n    direct = await seen('direct')\n    step = await ctx.step(seen, 'step')\n"
        "    await ctx.wait_for_user('?')\n    print('after')\n    return [direct, step]\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow")
        run = await session.wait(await session.answer(run, "go"))
        lines = [line.text for line in await session.app.engine.logs(run.id)]

    assert run.output == [2, 1]
    assert lines == ["ran direct", "ran step", "after"]


@pytest.mark.asyncio
async def test_a_step_may_have_a_name_that_the_host_uses_behind_its_own_mark(home: Path):
    source = (
        "async def run(ctx):\n"
        "    return [await ctx.step(name, lambda: 1) for name in ('asked', 'policy', 'doubt', 'ask!', 'x!policy')]\n"
    )
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("named", source)
        run = await session.run("named")

    assert run.output == [1] * 5, run.error
