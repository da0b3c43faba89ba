"""Functions that steps run: their options, their context, and what they may be."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from stepwell.model import Run, RunStatus
from stepwell.sdk.options import read_options
from stepwell_server import Session
from stepwell_server.results import run_result
from support.outside import Outside


async def run_source(home: Path, source: str, /, **inputs: object) -> Run:
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flow", source)
        return await session.run("flow", **inputs)


def output_of(run: Run) -> Any:
    assert run.status is RunStatus.COMPLETED, run.error
    return run.output


CONTEXT = """
from stepwell import FunctionContext, WorkflowContext, function

seen = []

@function
def with_context(ctx: FunctionContext, n):
    return [ctx.run_id, n]

@function
async def by_name(ctx, n):
    return [ctx.attempt, n]

@function(name="own")
def without(n):
    return n

async def run(ctx: WorkflowContext):
    return [
        await ctx.step(with_context, 1), await ctx.step(by_name, 2), await ctx.step(without, 3),
    ]
"""


@pytest.mark.row("A6")
@pytest.mark.asyncio
async def test_a_function_gets_its_context_if_its_first_parameter_asks_for_it(home: Path):
    run = await run_source(home, CONTEXT)

    assert output_of(run) == [[run.id, 1], [0, 2], 3]
    assert run.completed_steps == ("with_context", "by_name", "own")


EXTRAS = """
import asyncio
from stepwell import FunctionContext, function

@function(max_attempts=3, retry_delay=0, retry_on=ValueError)
def charge(fn: FunctionContext, order):
    fn.logger.info("trying", order=order, share="50%")
    fn.logger.warning("%s of %s", fn.attempt + 1, 3, order=order)
    fn.log("again?", last=not fn.should_retry(), other=fn.should_retry(KeyError("x")))
    fn.sleep(0.001)
    attempts = fn.state.update("attempts", lambda seen: [*seen, fn.attempt], [])
    if fn.should_retry(ValueError("busy")):
        raise ValueError("busy")
    return [attempts, fn.attempt]

@function
async def nap(fn: FunctionContext):
    await fn.sleep(0.001)
    return fn.should_retry()

async def run(ctx):
    done = [await ctx.step(charge, 7), await ctx.step(nap)]
    ctx.logger.warning("done", replayed=ctx._is_replay, last=done[-1])
    return done
"""


@pytest.mark.row("A8")
@pytest.mark.asyncio
async def test_a_function_knows_its_attempt_logs_with_fields_sleeps_and_keeps_state(home: Path):
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flow", EXTRAS)
        run = await session.run("flow")
        lines = [(line.level, line.text) for line in await session.app.engine.logs(run.id)]

    assert output_of(run) == [[[0, 1, 2], 2], False]
    assert lines[:3] == [
        ("info", "trying order=7 share=50%"), ("warning", "1 of 3 order=7"), ("info", "again? last=False other=False"),
    ]  # fmt: skip
    assert lines[8:] == [("info", "again? last=True other=False"), ("warning", "done replayed=False last=False")]


TRIED = """
import json
from stepwell import function

@function(OPTIONS)
def shaky(base, fails):
    if json.loads(tools.fetch(url=base + "/read/try"))["count"] <= fails:
        raise ValueError("not yet")
    return "ok"

async def run(ctx, base: str, fails: int):
    return await ctx.step(shaky, base, fails)
"""


@pytest.mark.row("A7")
@pytest.mark.parametrize(
    "options",
    ["max_attempts=3, retry_delay=0.001", "retries=2, retry_delay=0.001, backoff='exponential', max_delay=0.002"],
)
@pytest.mark.parametrize(("fails", "status"), [(2, RunStatus.COMPLETED), (9, RunStatus.FAILED)])
@pytest.mark.asyncio
async def test_a_function_declares_how_often_it_is_tried(
    home: Path, outside: Outside, options: str, fails: int, status: RunStatus
):
    run = await run_source(home, TRIED.replace("OPTIONS", options), base=outside.url, fails=fails)

    assert run.status is status
    assert outside.reads == {"try": 3}


@pytest.mark.row("A7")
@pytest.mark.parametrize(
    ("options", "delays"),
    [
        ({"retry_delay": 2}, [2, 2, 2, 2]),
        ({"backoff": "linear"}, [1, 2, 3, 4]),
        ({"backoff": "exponential", "max_delay": 5}, [1, 2, 4, 5]),
        ({"backoff": 3, "retry_delay": 0.5, "max_delay": 60}, [0.5, 1.5, 4.5, 13.5]),
    ],
)
def test_delays_grow_as_declared_up_to_the_longest(options: dict[str, Any], delays: list[float]):
    assert [read_options(options).delay(failed) for failed in range(1, 5)] == delays


@pytest.mark.row("A7", "S12")
@pytest.mark.asyncio
async def test_a_declared_time_out_is_that_of_an_attempt(home: Path):
    source = (
        "import asyncio\nfrom stepwell import function\n"
        "@function(timeout=0.05, retries=1, retry_delay=0)\n"
        "async def slow():\n    await asyncio.sleep(30)\n"
        "async def run(ctx):\n    await ctx.step(slow)\n"
    )

    run = await run_source(home, source)

    assert run.error is not None
    assert (run.error.type, run.error.attempt) == ("TimeoutError", 2)


CALLABLES = """
from functools import partial

def plain(n):
    return n

class Adder:
    def __init__(self, by):
        self.by = by
    def __call__(self, n):
        return n + self.by
    def method(self, n):
        return n * self.by
    @staticmethod
    async def later(n):
        return -n

async def run(ctx):
    return [
        await ctx.step(plain, 1), await ctx.step(Adder(10), 1), await ctx.step(Adder(3).method, 2),
        await ctx.step(Adder.later, 5), await ctx.step(partial(plain, 6)), await ctx.step(len, "four"),
        await ctx.step("upper", "text".upper), await ctx.step(lambda: 9), await ctx.step(int, "7"),
    ]
"""


@pytest.mark.row("A11")
@pytest.mark.asyncio
async def test_whatever_can_be_called_is_a_step_decorated_or_not(home: Path):
    run = await run_source(home, CALLABLES)

    assert output_of(run) == [1, 11, 6, -5, 6, 4, "TEXT", 9, 7]
    assert run.completed_steps == ("plain", "Adder", "method", "later", "plain#2", "len", "upper", "lambda", "int")


@pytest.mark.row("A14")
@pytest.mark.asyncio
async def test_named_results_come_by_name_also_from_functions_without_a_step(home: Path):
    source = (
        "async def fetch_revenue():\n    return 1\n"
        "async def fetch_costs():\n    return 2\n"
        "async def run(ctx):\n"
        "    return await ctx.gather(revenue=fetch_revenue(), costs=fetch_costs(), tax=ctx.step('tax', lambda: 3))\n"
    )

    assert output_of(await run_source(home, source)) == {"revenue": 1, "costs": 2, "tax": 3}


@pytest.mark.row("A39")
@pytest.mark.parametrize(
    "value",
    [{"status": "done", "items": [1, 2.5, None, True, {"deep": ["ü", ""]}]}, "just text", [], 0, False, None, {}],
)
@pytest.mark.asyncio
async def test_what_a_workflow_returns_is_what_its_caller_gets(home: Path, value: object):
    run = await run_source(home, f"def run():\n    return {value!r}\n")

    assert output_of(run) == value
    assert type(run.output) is type(value)


@pytest.mark.row("N5")
@pytest.mark.parametrize(
    ("signature", "name"),
    [
        ("topic: str, wf: Workflow", "wf"),
        ("wf: Workflow, topic: str", "wf"),
        ("topic: str, handle: 'Workflow'", "handle"),
        ("topic: str, handle: Workflow | None = None", "handle"),
    ],
)
@pytest.mark.asyncio
async def test_the_context_may_be_annotated_as_workflow_and_stand_last(home: Path, signature: str, name: str):
    source = (
        "from stepwell import Workflow\n@Workflow(durable=True)\n"
        f"async def report({signature}) -> str:\n    return await {name}.step('echo')(topic)\n"
    )
    async with asyncio.timeout(60), Session(home) as session:
        created = await session.add_workflow("flow", source)
        run = await session.run("flow", topic="wells")

    assert list(created.workflow.version.schema["properties"]) == ["topic"]
    assert output_of(run) == "wells"


@pytest.mark.row("N17")
@pytest.mark.asyncio
async def test_a_run_tells_how_long_it_took(home: Path):
    began = asyncio.get_running_loop().time()

    run = await run_source(home, "async def run(ctx):\n    await ctx.sleep(0.05)\n")

    assert 0.05 <= run_result(run)["elapsed_seconds"] < asyncio.get_running_loop().time() - began


@pytest.mark.row("N20")
@pytest.mark.asyncio
async def test_without_any_configuration_runs_are_kept_on_disk(tmp_path: Path):
    home = tmp_path / "never configured"
    source = (
        "def run(ctx):\n    ctx.step('first', lambda: 1)\n    ctx.wait_for_user('on?')\n    return ctx.step('x', int)\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow")
    assert (home / "stepwell.db").read_bytes().startswith(b"SQLite format 3")

    async with asyncio.timeout(60), Session(home) as session:
        run = await session.wait(await session.answer(run, "yes"))

    assert output_of(run) == 0
    assert run.skipped_steps == ("first",)
