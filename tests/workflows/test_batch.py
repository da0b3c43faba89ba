"""One function for many items: `ctx.batch` and `ctx.map`."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from stepwell.model import Run, RunStatus
from stepwell_server import Session
from support.outside import Outside


async def run_source(home: Path, source: str, /, **inputs: object) -> Run:
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flow", source)
        return await session.run("flow", **inputs)


def output_of(run: Run) -> Any:
    assert run.status is RunStatus.COMPLETED, run.error
    return run.output


GATED = """
def load(base, id):
    tools.fetch(url=f"{base}/gate/{id}")
    return {"id": id}

async def run(ctx, base: str, many: int, width: int):
    result = await ctx.batch(load, [{"base": base, "id": id} for id in range(many)], max_concurrency=width)
    return [result.stats.completed_items, result.outputs]
"""


@pytest.mark.row("A15")
@pytest.mark.asyncio
async def test_so_many_items_at_once_as_asked_and_outputs_in_their_places(home: Path, outside: Outside):
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flow", GATED)
        run = await session.start("flow", base=outside.url, many=40, width=20)
        for name in range(20):
            await asyncio.to_thread(outside.wait_for_read, str(name))
        begun = len(outside.reads)
        for name in reversed(range(40)):
            outside.open_gate(str(name))
        run = await session.wait(run)

    assert begun == 20
    assert output_of(run) == [40, [{"id": n} for n in range(40)]]


COUNTED = """
import threading

now = most = 0
lock = threading.Lock()

def track(n):
    global now, most
    with lock:
        now += 1
        most = max(most, now)
    import time
    time.sleep(0.01)
    with lock:
        now -= 1
    return n

{definition}
    result = {wait}ctx.batch(track, range(40), max_concurrency=7)
    return [most <= 7, result.outputs]
"""


@pytest.mark.row("A15")
@pytest.mark.parametrize(("definition", "wait"), [("async def run(ctx):", "await "), ("def run(ctx):", "")])
@pytest.mark.asyncio
async def test_never_more_than_asked_in_both_kinds_of_code(home: Path, definition: str, wait: str):
    source = COUNTED.replace("{definition}", definition).replace("{wait}", wait)

    assert output_of(await run_source(home, source)) == [True, list(range(40))]


MIXED = """
def check(n, factor=1):
    if n == 2:
        raise ValueError("two is bad")
    return n * factor

async def run(ctx):
    result = await ctx.batch(check, [{"n": 1, "factor": 10}, {"n": 2}, {"n": 3}])
    plain = await ctx.batch(check, [5, 2], name="plain")
    none = await ctx.batch(check, [2])
    empty = await ctx.batch(check, [])
    return {
        "result": result, "outputs": result.outputs, "good": result.successful_outputs(),
        "failed": [[item.index, item.item_id] for item in result.failed_items()],
        "plain": [item.input for item in plain.results], "status": [plain.status, none.status, empty.status],
    }
"""


@pytest.mark.row("A15", "A16", "A17")
@pytest.mark.asyncio
async def test_a_failed_item_is_counted_and_the_others_go_on(home: Path):
    run = await run_source(home, MIXED)

    output = output_of(run)
    result = output["result"]
    assert (result["batch_id"], result["status"]) == (f"{run.id}:check", "partial_failure")
    counts = {name: value for name, value in result["stats"].items() if name.endswith("_items")}
    assert counts == {
        "total_items": 3, "completed_items": 2, "failed_items": 1, "cancelled_items": 0, "pending_items": 0,
    }  # fmt: skip
    assert [(item["index"], item["status"], item["output"]) for item in result["results"]] == [
        (0, "completed", 10),
        (1, "failed", None),
        (2, "completed", 3),
    ]
    assert {item["run_id"] for item in result["results"]} == {run.id}
    assert result["results"][1]["error"] == {
        "code": "workflow_error", "message": "two is bad", "type": "ValueError",
    }  # fmt: skip
    durations = [item["duration_ms"] for item in result["results"]]
    assert all(isinstance(duration, int) for duration in durations)
    assert result["stats"]["duration_ms"] >= max(durations)
    assert output["outputs"] == [10, None, 3]
    assert output["good"] == [10, 3]
    assert output["failed"] == [[1, "check~1"]]
    assert output["plain"] == [{"value": 5}, {"value": 2}]
    assert output["status"] == ["partial_failure", "failed", "completed"]


STOPPED = """
async def check(base, n):
    if n == 3:
        raise ValueError("three is bad")
    tools.curl.post(url=f"{base}/effect/{n}", json={})
    return n

async def run(ctx, base: str):
    items = [{"base": base, "n": n} for n in range(8)]
    result = await ctx.batch(check, items, max_concurrency=1, continue_on_failure=False)
    await ctx.wait_for_user("look")
    return [result.status, result.stats.cancelled_items, [item.status for item in result.results], ctx.attempt]
"""


@pytest.mark.row("A16")
@pytest.mark.asyncio
async def test_it_stops_at_the_first_failure_if_asked_to_and_again_on_a_replay(home: Path, outside: Outside):
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flow", STOPPED)
        run = await session.run("flow", base=outside.url)
        run = await session.wait(await session.answer(run, "go on"))

    states = ["completed"] * 3 + ["failed"] + ["cancelled"] * 4
    assert output_of(run) == ["cancelled", 4, states, 2]
    assert outside.effects == {"0": 1, "1": 1, "2": 1}


@pytest.mark.row("A16")
@pytest.mark.asyncio
async def test_an_item_that_takes_too_long_fails_with_its_code(home: Path):
    source = (
        "import asyncio\n"
        "async def nap(seconds):\n    await asyncio.sleep(seconds)\n    return seconds\n"
        "async def run(ctx):\n"
        "    result = await ctx.batch(nap, [0, 30], timeout_per_item=0.05)\n"
        "    return [[item.status, item.error and item.error.code] for item in result.results]\n"
    )

    assert output_of(await run_source(home, source)) == [["completed", None], ["failed", "timeout"]]


KINDS = """
from dataclasses import dataclass
from stepwell import FunctionContext, function

@dataclass
class Page:
    text: str

@function(retries=1, retry_delay=0)
def shaky(fn: FunctionContext, n):
    if fn.attempt == 0:
        raise ValueError("first")
    return n

async def later(n):
    return Page(f"page {n}")

{definition}
    pages = {wait}ctx.map(later, [1, 2])
    return {
        "function": {wait}ctx.map(shaky, [1, 2]),
        "async": [page.text for page in pages],
        "tool": {wait}ctx.map(tools.fetch, [{"url": base + "/read/a"}, {"url": base + "/read/b"}]),
        "workflow": {wait}ctx.map(workflows.other, [{"n": 1}, {"n": 2}]),
        "lambda": {wait}ctx.map(lambda n: n + 1, (1, 2)),
        "iterator": {wait}ctx.map(str, (n for n in range(3))),
    }
"""


@pytest.mark.row("A15", "A18")
@pytest.mark.parametrize(("definition", "wait"), [("async def run(base: str):", "await "), ("def run(base: str):", "")])
@pytest.mark.asyncio
async def test_anything_that_can_be_called_is_mapped(home: Path, outside: Outside, definition: str, wait: str):
    source = KINDS.replace("{definition}", definition).replace("{wait}", wait)
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("other", "def run(n: int) -> int:\n    return n * 100\n")
        await session.add_workflow("flow", source)
        run = await session.run("flow", base=outside.url)

    output = output_of(run)
    assert [text.split('"')[3] for text in output.pop("tool")] == ["a", "b"]
    assert output == {
        "function": [1, 2], "async": ["page 1", "page 2"], "workflow": [100, 200], "lambda": [2, 3],
        "iterator": ["0", "1", "2"],
    }  # fmt: skip


MAPPED = """
import json

def load(base, n):
    count = json.loads(tools.fetch(url=f"{base}/count/{n}"))["count"]
    if n == 1 and count == 1:
        raise ValueError("not yet")
    return n

async def run(ctx, base: str):
    return await ctx.map(load, [{"base": base, "n": n} for n in range(3)])
"""


@pytest.mark.row("A18", "A37")
@pytest.mark.asyncio
async def test_a_map_raises_and_names_the_items_and_a_resumed_run_tries_only_those_again(home: Path, outside: Outside):
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flow", MAPPED)
        failed = await session.run("flow", base=outside.url)
        assert failed.error is not None
        assert (failed.error.type, failed.error.code) == ("BatchError", "batch_failed")
        assert failed.error.message == "1 of 3 items of load failed: item 1: ValueError: not yet"
        run = await session.wait(await session.resume(failed))

    assert output_of(run) == [0, 1, 2]
    assert outside.reads == {"0": 1, "1": 2, "2": 1}


CAUGHT = """
from stepwell import BatchError

def load(n):
    if n > 1:
        raise ValueError(f"bad {n}")
    return n

async def run(ctx):
    async def inside():
        return await ctx.map(load, range(4))
    try:
        await ctx.step(inside)
    except BatchError as error:
        return [error.failed, error.result.outputs, type(error.__cause__).__name__]
"""


@pytest.mark.row("A18")
@pytest.mark.asyncio
async def test_the_error_of_a_map_tells_what_failed_also_behind_a_step(home: Path):
    assert output_of(await run_source(home, CAUGHT)) == [[2, 3], [0, 1, None, None], "StepError"]


APPROVED = """
from stepwell import ApprovalDenied

def pay(base, n):
    tools.curl.post(url=f"{base}/effect/{n}", json={})
    return n

async def run(ctx, base: str):
    items = [{"base": base, "n": n} for n in range(3)]
    result = await ctx.batch(pay, items, max_concurrency=1, requires_approval=True)
    return result.outputs
"""


@pytest.mark.asyncio
async def test_a_rejected_item_rejects_the_run_and_no_further_item_is_begun(home: Path, outside: Outside):
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flow", APPROVED)
        run = await session.run("flow", base=outside.url)
        run = await session.wait(await session.approve(run))
        assert [wait.key for wait in run.waiting_for] == ["pay~1!approval"]
        run = await session.wait(await session.reject(run, "too much"))

    assert run.status is RunStatus.REJECTED
    assert outside.effects == {"0": 1}


DOUBTFUL = """
def pay(base, n):
    tools.curl.post(url=f"{base}/effect/{n}", json={})
    return n

async def run(ctx, base: str):
    result = await ctx.batch(pay, [{"base": base, "n": n} for n in range(3)], max_concurrency=1)
    return result.status
"""


@pytest.mark.asyncio
async def test_a_call_of_an_item_that_was_given_up_in_doubt_is_raised(home: Path, outside: Outside):
    outside.lose_answers("1")
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flow", DOUBTFUL)
        run = await session.run("flow", base=outside.url)
        assert run.status is RunStatus.IN_DOUBT
        run = await session.wait(await session.resume(run, "fail"))

    assert run.status is RunStatus.FAILED
    assert run.error is not None
    assert run.error.code == "in_doubt"
    assert outside.effects == {"0": 1, "1": 1}


@pytest.mark.row("A15", "A17")
@pytest.mark.asyncio
async def test_the_result_is_the_same_after_a_pause_and_later_steps_are_not_mixed_up(home: Path):
    source = (
        "import asyncio\n"
        "async def slow(n):\n    await asyncio.sleep(0.02 * (3 - n))\n    return n\n"
        "async def run(ctx):\n"
        "    first, second = await ctx.parallel(ctx.batch(slow, range(3)), ctx.batch(slow, range(3), max_concurrency=1))\n"
        "    own = await ctx.step(slow, 2)\n"
        "    before = await ctx.step('before')([first.stats, second.stats, first, own])\n"
        "    await ctx.wait_for_user('?')\n"
        "    return [before == [first.stats, second.stats, first, own], first.outputs, second.outputs, ctx.attempt]\n"
    )
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow")
        run = await session.wait(await session.answer(run, "yes"))
        keys = {entry.key for entry in await session.app.engine.journal(run.id)}

    assert output_of(run) == [True, [0, 1, 2], [0, 1, 2], 2]
    assert {"slow~0", "slow~2", "slow#2~0", "slow#2~2", "slow#3", "before"} <= keys


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("ctx.batch(str, 'text')", "items is a list"),
        ("ctx.batch(str, {'a': 1})", "items is a list"),
        ("ctx.batch(str, 5)", "items is a list"),
        ("ctx.batch('name', [1])", "take a function"),
        ("ctx.batch(str, [1], max_concurrency=0)", "from 1 to 1000"),
        ("ctx.batch(str, [1], timeout=1, timeout_per_item=2)", "not both"),
        ("ctx.map(str, [1], wrong=2)", "no option wrong"),
    ],
)
@pytest.mark.asyncio
async def test_a_call_that_makes_no_sense_says_so(home: Path, call: str, words: str):
    run = await run_source(home, f"async def run(ctx):\n    await {call}\n")

    assert run.error is not None
    assert words in run.error.message


@pytest.mark.slow
@pytest.mark.asyncio
async def test_thousands_of_items_are_not_thousands_of_tasks(home: Path):
    source = (
        "import asyncio\n"
        "most = 0\n"
        "async def count(n):\n    global most\n    most = max(most, len(asyncio.all_tasks()))\n    return n\n"
        "async def run(ctx):\n"
        "    result = await ctx.batch(count, range(3000), max_concurrency=5)\n"
        "    return [most < 20, result.stats.completed_items, sum(result.outputs)]\n"
    )

    assert output_of(await run_source(home, source)) == [True, 3000, sum(range(3000))]
