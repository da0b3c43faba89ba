"""A module-level `Workflow` whose steps are decorated functions."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stepwell.catalog.analysis import analyse
from stepwell.engine import StartOptions
from stepwell.errors import InvalidSource
from stepwell.model import Run, RunStatus
from stepwell_server import Session
from support.outside import Outside
from support.server import LOCAL_HTTP, make_home


async def run_source(home: Path, source: str, /, **inputs: object) -> Run:
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flow", source)
        return await session.run("flow", **inputs)


def output_of(run: Run) -> Any:
    assert run.status is RunStatus.COMPLETED, run.error
    return run.output


ARTICLE = '''
"""Research a topic, draft an article, publish it."""
import json
from stepwell import Workflow, WorkflowContext

wf = Workflow("article")

def post(base, name):
    return json.loads(tools.curl.post(url=f"{base}/effect/{name}", json={}))["count"]

@wf.step("research")
async def research(base: str, topic: str, depth: int = 1) -> dict:
    return {"base": base, "found": [post(base, "research"), topic, depth]}

@wf.step("draft", retries=3, retry_delay=0.01, timeout=30)
def draft(research_output: dict) -> dict:
    return research_output | {"draft": post(research_output["base"], "draft")}

@wf.step("review")
async def review(text: dict, ctx: WorkflowContext) -> dict:
    gate = await ctx.approve("Publish it?", text["found"])
    return text | {"approved": gate["approved"]}

@wf.step("publish")
def publish(anything: dict) -> list:
    return [anything["found"], anything["draft"], anything["approved"], post(anything["base"], "publish")]
'''


@pytest.mark.row("S7", "S8", "S13", "S20", "S23", "N10")
@pytest.mark.asyncio
async def test_steps_run_in_their_order_each_with_what_the_one_before_returned(home: Path, outside: Outside):
    async with asyncio.timeout(60), Session(home) as session:
        created = await session.add_workflow("article", ARTICLE)
        waiting = await session.run("article", base=outside.url, topic="wells")
    assert waiting.status is RunStatus.WAITING
    assert [(wait.prompt, wait.context) for wait in waiting.waiting_for] == [("Publish it?", [1, "wells", 1])]
    assert outside.effects == {"research": 1, "draft": 1}

    async with asyncio.timeout(60), Session(home) as session:
        run = await session.wait(await session.approve(waiting))

    assert created.workflow.version.signature == "article(base: str, topic: str, depth: int = 1) -> list"
    assert created.warnings == ()
    assert output_of(run) == [[1, "wells", 1], 1, True, 1]
    assert run.completed_steps == ("research", "draft", "review", "publish")
    assert run.skipped_steps == ("research", "draft")
    assert outside.effects == {"research": 1, "draft": 1, "publish": 1}


@pytest.mark.row("S22")
@pytest.mark.asyncio
async def test_a_rejected_pipeline_publishes_nothing(home: Path, outside: Outside):
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("article", ARTICLE)
        waiting = await session.run("article", base=outside.url, topic="wells")
        run = await session.wait(await session.reject(waiting, "too dull"))

    assert run.status is RunStatus.REJECTED
    assert outside.effects == {"research": 1, "draft": 1}


@pytest.mark.row("S25")
@pytest.mark.asyncio
async def test_a_pipeline_that_waits_for_a_person_leaves_its_worker_to_others(home: Path, outside: Outside):
    make_home(home, LOCAL_HTTP + "[workers]\nconcurrency = 1\n")
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("article", ARTICLE)
        waiting = [await session.run("article", base=outside.url, topic=topic) for topic in ("wells", "stairs")]
        other = await session.run_code("1 + 1")

    assert [run.status for run in waiting] == [RunStatus.WAITING, RunStatus.WAITING]
    assert output_of(other) == 2


@pytest.mark.row("S14", "S16")
@pytest.mark.asyncio
async def test_the_same_run_id_gives_the_stored_output(home: Path, outside: Outside):
    source = (
        "from stepwell import Workflow\nwf = Workflow(name='one')\n@wf.step('only')\ndef only(base: str) -> str:\n"
        "    return tools.curl.post(url=base + '/effect/only', json={})\n"
    )
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flow", source)
        start = partial(session.app.engine.start, "flow", {"base": outside.url}, StartOptions(run_id="r1"))
        first = await session.wait(await start())
        again = await session.wait(await start())

    assert output_of(first) == output_of(again)
    assert outside.effects == {"only": 1}


@pytest.mark.row("S10", "S11")
@pytest.mark.asyncio
async def test_retries_of_a_step_are_extra_attempts_with_their_delay_between(home: Path, outside: Outside):
    source = (
        "from stepwell import Workflow\nwf = Workflow('w')\n"
        "@wf.step('try', retries=2, retry_delay=0.5)\ndef fails(base: str):\n"
        "    tools.fetch(url=base + '/read/try')\n    raise ValueError('always')\n"
    )
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow", base=outside.url)
        delays = [entry for entry in await session.app.engine.journal(run.id) if entry.kind == "timer"]

    assert run.status is RunStatus.FAILED
    assert run.error is not None
    assert (run.error.step, run.error.attempt) == ("try", 3)
    assert outside.reads == {"try": 3}
    assert sum((entry.finished_at or 0) - (entry.opened_at or 0) for entry in delays) >= 1


SHAPES = """
from dataclasses import dataclass
from stepwell import FunctionContext, Workflow, function
import stepwell

flow: stepwell.Workflow = stepwell.Workflow("shapes")

@dataclass
class Order:
    key: str
    amount: int

@flow.step
def first(order: Order, timeout: int = 3) -> Order:
    return Order(order.key, order.amount + timeout)

@flow.step("with function context", retries=1, retry_delay=0)
def second(fn: FunctionContext, given):
    if fn.attempt == 0:
        raise ValueError("again")
    return given.amount

@flow.step("with context first")
async def third(wf: Workflow, amount):
    return amount + await wf.step("inner", lambda: 100)

@flow.step(name="rest")
def fourth(*values):
    return list(values)

@flow.step("positional")
def fifth(values, /):
    return values

@flow.step("declared")
@function(retries=1, retry_delay=0)
def sixth(ctx: FunctionContext, values):
    if ctx.attempt == 0:
        raise ValueError("again")
    return values

@flow.step("keeps nothing")
def seventh():
    return None

@flow.step("last")
def eighth(nothing, more=5):
    return [nothing, more]
"""


@pytest.mark.row("S13")
@pytest.mark.asyncio
async def test_a_step_may_have_any_parameters(home: Path):
    run = await run_source(home, SHAPES, order={"key": "k", "amount": 1})

    assert output_of(run) == [None, 5]
    assert run.step_results["rest"] == run.step_results["declared"] == [104]
    assert run.completed_steps[0] == "first"


@pytest.mark.row("S9")
def test_two_steps_of_one_name_are_refused_with_both_lines() -> None:
    source = (
        "from stepwell import Workflow\n\nwf = Workflow('w')\n\n@wf.step('draft')\ndef one(x: str): ...\n\n"
        "@wf.step(name='draft')\ndef two(x): ...\n"
    )

    with pytest.raises(InvalidSource) as caught:
        analyse(source, name="w")

    assert "'draft': in line 5 and in line 8" in caught.value.message


@pytest.mark.row("S9")
@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("wf = Workflow('w')\nfor n in range(2):\n    wf.step('same')(lambda: n)\n", "named 'same'"),
        ("wf = Workflow('w')\n", "has no steps"),
        ("wf = Workflow('w')\n@wf.step('a', retry=1)\ndef a(): ...\n", "no option retry"),
    ],
)
@pytest.mark.asyncio
async def test_what_only_a_run_can_see_is_said_by_it(home: Path, source: str, words: str):
    run = await run_source(home, "from stepwell import Workflow\n" + source)

    assert run.error is not None
    assert words in run.error.message


HELPERS = """
import threading
from stepwell import Workflow

now = most = 0
lock = threading.Lock()

def shout(text):
    global now, most
    with lock:
        now += 1
        most = max(most, now)
    import time
    time.sleep(0.01)
    with lock:
        now -= 1
    return str(text).upper()

def no():
    raise RuntimeError("never called")

{definition}
    fanned = {wait}Workflow.fan_out(range(20), shout, concurrency=3)
    mapped = {wait}Workflow.map(shout, ["a", "b"], prefix="say ", concurrency=2, step_prefix="say")
    reduced = {wait}Workflow.reduce(["a", "b", 3], shout, separator="+")
    taken = [
        {wait}Workflow.branch(len(fanned) == 20, if_true=lambda: "yes", if_false=no),
        {wait}Workflow.branch(False, if_true=no),
        {wait}ctx.branch(lambda: True, if_true=lambda: ctx.step("chosen", shout, "x"), if_false=no),
    ]
    same = [{wait}ctx.fan_out([1], str), {wait}ctx.reduce(["q"], shout)]
    return {"most": most, "fanned": fanned, "mapped": mapped, "reduced": reduced, "taken": taken, "same": same}
"""


@pytest.mark.row("N27")
@pytest.mark.parametrize(("definition", "wait"), [("async def run(ctx):", "await "), ("def run(ctx):", "")])
@pytest.mark.asyncio
async def test_the_helpers_bound_what_runs_at_once_and_keep_the_order(home: Path, definition: str, wait: str):
    run = await run_source(home, HELPERS.replace("{definition}", definition).replace("{wait}", wait))

    output = output_of(run)
    assert output.pop("most") <= 3
    assert output == {
        "fanned": [str(n) for n in range(20)], "mapped": ["SAY A", "SAY B"], "reduced": "A+B+3",
        "taken": ["yes", None, "X"], "same": [["1"], "Q"],
    }  # fmt: skip
    assert {"say_0", "say_1", "chosen"} <= set(run.completed_steps)


@pytest.mark.row("N27")
@pytest.mark.asyncio
async def test_a_fan_out_over_calls_and_a_branch_that_is_not_taken(home: Path):
    source = (
        "async def echo(n):\n    return n\n"
        "async def run(ctx):\n"
        "    calls = await ctx.fan_out([1, 2], lambda n: ctx.step(f'echo {n}', echo, n))\n"
        "    taken = await ctx.branch(calls == [1, 2], if_true=echo(5), if_false=ctx.step('not', echo, 6))\n"
        "    try:\n        await ctx.fan_out([1, 2, 3], lambda n: 1 // (n - 2), concurrency=1)\n"
        "    except ZeroDivisionError:\n        return [calls, taken]\n"
    )

    assert output_of(await run_source(home, source)) == [[1, 2], 5]
