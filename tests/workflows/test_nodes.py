"""Declarative workflows: `Workflow("name", steps=[Step, Parallel, Condition, Loop, Router])`."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from stepwell.catalog.analysis import analyse
from stepwell.errors import InvalidSource
from stepwell.model import Run, RunStatus
from stepwell_server import Session
from support.outside import Outside

IMPORTS = "from stepwell import Workflow, Step, Steps, Parallel, Condition, Loop, Router, StepInput, StepOutput\n"


async def run_source(home: Path, source: str, /, **inputs: object) -> Run:
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flow", IMPORTS + source)
        return await session.run("flow", **inputs)


def output_of(run: Run) -> Any:
    assert run.status is RunStatus.COMPLETED, run.error
    return run.output


FULL = '''"""Research from two sides, write, and revise until it is approved."""
import json
{imports}

def web(given):
    return f"web on {given.input}"

async def papers(given: StepInput) -> str:
    return f"papers on {given.input}"

def write(given):
    return given.prompt()

def review(given):
    count = json.loads(tools.curl.post(url=given.additional_data["base"] + "/effect/review", json={}))["count"]
    return "APPROVED" if count == 3 else None

def publish(given):
    return "published"

workflow = Workflow(
    name="full-pipeline",
    steps=[
        Parallel(name="research", steps=[Step(name="web", executor=web), Step(name="papers", executor=papers)]),
        Step(name="writer", executor=write),
        Condition(
            name="quality-check",
            condition=lambda given: "APPROVED" in (given.get_last_step_content() or ""),
            true_steps=Step(name="publish", executor=publish),
            false_steps=Loop(
                name="revise",
                steps=[Step(name="rewrite", executor=lambda given: "text"), Step(name="review", executor=review)],
                end_condition=lambda outputs: any("APPROVED" in (o.content or "") for o in outputs),
                max_iterations=4,
            ),
        ),
    ],
)
'''


@pytest.mark.row("D2", "D4", "D8", "D17", "D19", "D20", "D21", "D26")
@pytest.mark.asyncio
async def test_a_stored_workflow_of_nested_nodes_runs_and_is_told_by_name_and_depth(home: Path, outside: Outside):
    async with asyncio.timeout(60), Session(home) as session:
        created = await session.add_workflow("flow", FULL.replace("{imports}", IMPORTS))
        run = await session.run("flow", input="wells", additional_data={"base": outside.url})
        events = await session.timeline(run.id)
        journal = await session.app.engine.journal(run.id)

    assert created.workflow.description == "Research from two sides, write, and revise until it is approved."
    assert created.workflow.version.entry_kind == "workflow_object"
    assert created.warnings == ()
    assert sorted(created.workflow.version.schema["properties"]) == ["additional_data", "input", "session_state"]
    assert output_of(run) == "APPROVED"
    assert run.step_results["writer"] == (
        "wells\nPrevious step output:\n[web]: web on wells\n\n[papers]: papers on wells"
    )
    assert run.get_step_output("review#3") == "APPROVED"
    assert run.get_step_output("nothing") is None
    assert [run.step_results[name] for name in ("review", "review#2", "review#3")] == [None, None, "APPROVED"]
    assert {"research~/web", "quality-check~/revise~3/review"} <= {entry.key for entry in journal}
    told = [
        (event.type, event.data.get("node") or event.data["step"], event.data.get("depth", 0))
        for event in events
        if event.type.startswith(("node.", "step."))
    ]
    assert told[0] == ("node.started", "research", 0)
    assert {("step.started", "web", 1), ("step.completed", "web", 1)} <= set(told)
    assert told[-2:] == [("node.completed", "revise", 1), ("node.completed", "quality-check", 0)]
    passes = [event.data for event in events if event.type == "node.iteration"]
    assert [(data["iteration"], data["depth"]) for data in passes] == [(1, 1), (2, 1), (3, 1)]


@pytest.mark.row("D29")
@pytest.mark.asyncio
async def test_a_workflow_waits_in_the_second_pass_of_a_loop_and_goes_on_there(home: Path, outside: Outside):
    source = (
        "def post(given):\n"
        "    return tools.curl.post(url=given.input + '/effect/' + ('first' if given.previous_step_content is None "
        "else 'next'), json={})\n"
        "async def ask(given, ctx):\n"
        "    return await ctx.wait_for_user(f'after {len(given.previous_step_outputs)}')\n"
        "flow = Workflow('loop', steps=[Loop('twice', [Step('post', executor=post), Step('ask', executor=ask)],\n"
        "    end_condition=lambda outputs: outputs[-1].content == 'enough')])\n"
    )
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flow", IMPORTS + source)
        waiting = await session.run("flow", input=outside.url)
        waiting = await session.wait(await session.answer(waiting, "more"))
    assert [(wait.key, wait.prompt) for wait in waiting.waiting_for] == [("twice~2/ask@1/wait_for_user", "after 2")]

    async with asyncio.timeout(60), Session(home) as session:
        run = await session.wait(await session.answer(waiting, "enough"))

    assert output_of(run) == "enough"
    assert outside.effects == {"first": 1, "next": 1}


EXECUTORS = """
import threading, time

class Answer:
    def __init__(self, content):
        self.content = content

tries = []

def plain(given):
    return f"plain {given.input} {threading.current_thread().name}"

async def async_(given):
    return f"Processed: {given.get_last_step_content()}"

def fails_twice(given):
    tries.append(1)
    if len(tries) < 3:
        raise ValueError("not yet")
    return len(tries)

def slow(given):
    time.sleep(1)

def asks(given):
    return [given.input, given.get_step_content("plain")[:5], given.get_step_content("nothing"),
        given.get_all_previous_content().count("["), given.additional_data, given.session_state]

class Echo:
    name = "echo"
    async def arun(self, prompt):
        return Answer2(f"<{prompt}>", 7)

from dataclasses import dataclass
@dataclass
class Answer2:
    content: str
    tokens_used: int

async def run(ctx):
    one = await Workflow("one", session_state={"a": 1}, steps=[
        plain, async_,
        Step("retried", executor=fails_twice, retries=2),
        Step("object", executor=lambda given: Answer("held")),
        Step("nothing at all", executor=lambda: None),
        asks,
        Step("agent", agent=Echo(), input_builder=lambda given: f"built from {given.input}"),
        Step("team", team=Echo()),
        Steps("inner", [lambda given: given.get_last_step_content() is not None]),
    ]).arun("in", additional_data={"x": 1})
    late = await Workflow(steps=Step("slow", executor=slow, timeout=0.05)).arun()
    after = await Workflow("stops", steps=[Steps(steps=[
        Step("a", executor=lambda given: "a"), Step("b", executor=lambda given: 1 // 0), Step("c", executor=asks),
    ]), Step("d", executor=asks)]).arun("x")
    said = await Workflow("said", steps=lambda given: StepOutput(success=False, error="no luck")).arun("x")
    ended = await Workflow("ended", steps=[Steps("deep", [
        Step("last", executor=lambda given: StepOutput(content="done", stop=True)), asks]), asks]).arun("x")
    seen = [one.content, one.success, one.get_step_content("retried"), one.get_step_content("object"),
        one.get_step_content("asks"), one.get_step_content("agent"), one.get_step_output("agent").metrics,
        one.get_step_content("team")[:3], one.get_step_content("async_")[:16], one.get_step_output("none"),
        [output.step_type for output in one.step_outputs][-1], one.workflow_name, one.run_id == ctx.run_id,
        one.get_step_output("plain").duration_ms >= 0, one.get_step_output("plain").to_dict()["status"]]
    return {"one": seen, "late": [late.success, late.error, late.workflow_name],
        "after": [after.success, after.error, [o.step_name for o in after.step_outputs[0].steps], after.status,
            [o.status for o in after.step_outputs]],
        "said": said.error, "ended": [ended.success, ended.content, len(ended.step_outputs)]}
"""


@pytest.mark.row("D3", "D5", "D6", "D7", "D9", "D10", "D13", "D14", "D15", "D16", "D22", "D24")
@pytest.mark.asyncio
async def test_executors_get_the_input_and_what_was_before_and_give_any_result(home: Path):
    output = output_of(await run_source(home, EXECUTORS))

    assert output["one"] == [
        True, True, 3, "held", ["in", "plain", None, 4, {"x": 1}, {"a": 1}], "<built from in>",
        {"tokens_used": 7}, "<in", "Processed: plain", None, "Steps", "one", True, True, "completed",
    ]  # fmt: skip
    assert output["late"] == [False, "TimeoutError: step 'slow' took longer than 0.05 s", "workflow"]
    assert output["after"] == [
        False, "ZeroDivisionError: integer division or modulo by zero", ["a", "b"], "failed", ["failed"],
    ]  # fmt: skip
    assert output["said"] == "no luck"
    assert output["ended"] == [True, "done", 1]


NODES = """
import asyncio
from stepwell import (LoopIterationEvent, StepCompletedEvent, StepErrorEvent, StepSkippedEvent, StepStartedEvent,
    WorkflowCompletedEvent, WorkflowErrorEvent, WorkflowStartedEvent)

now = most = 0

async def work(given):
    global now, most
    now += 1
    most = max(most, now)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    now -= 1
    return "w"

def step(name, value):
    return Step(name, executor=lambda given: value)

async def case(condition):
    node = Condition("c", condition=condition, true_steps=[step("yes", "Y"), step("more", "M")])
    both = Condition("c", condition=condition, true_steps=step("yes", "Y"), false_steps=step("no", "N"))
    results = [await Workflow("w", steps=[step("first", "F"), one]).arun("x") for one in (node, both)]
    return [[r.content, r.success, r.get_step_output("c").status] for r in results]

async def is_false(given):
    return False

async def routed(selector):
    router = Router("r", selector=selector, routes={"one": step("s1", "1"), "two": [step("s2", "2"), step("s3", "3")]})
    result = await Workflow("w", steps=[router]).arun("x")
    return [result.content, result.success, result.error, result.step_outputs[0].status]

async def looped(**options):
    calls = []
    async def ends(outputs):
        calls.append([o.content for o in outputs])
        return len(calls) == 2
    result = await Workflow("w", steps=Loop("l", [step("n", None)], end_condition=ends, **options)).arun("x")
    return [len(calls), len(result.step_outputs[0].steps), result.success]

async def run(ctx):
    wide = await Workflow("wide", steps=[
        Parallel(*[Step(f"s{n}", executor=work) for n in range(6)], name="p", max_concurrency=2)]).arun("x")
    partly = await Workflow("partly", steps=[Parallel(name="p", steps=[
        Step("bad", executor=lambda given: 1 // 0), step("good", "G")]), step("never", 1)]).arun("x")
    told = []
    watched = Workflow("watched", steps=[Loop("l", step("n", 1), max_iterations=1),
        Condition("c", condition=False, true_steps=step("t", 1)), Step("bad", executor=lambda given: 1 // 0)])
    for kind in (WorkflowStartedEvent, StepStartedEvent, StepCompletedEvent, StepErrorEvent, StepSkippedEvent,
            LoopIterationEvent, WorkflowCompletedEvent, WorkflowErrorEvent):
        watched.events.on(kind, lambda event: told.append([type(event).__name__, getattr(event, "step_name", "")]))
    watched.events.on(StepStartedEvent, lambda event: 1 // 0)
    watched.events.on(LoopIterationEvent, lambda event: told.append([event.iteration, event.max_iterations]))
    await watched.arun("x")
    return {
        "most": most, "wide": wide.content, "partly": [partly.success, partly.get_step_content("good"),
            partly.get_step_output("never"), partly.get_step_output("p").status],
        "cases": [await case(lambda given: given.input == "x"), await case(is_false)],
        "routed": [await routed(lambda given: "one"), await routed(lambda given: ["two", "one"]),
            await routed(lambda given: "zz"), await routed(lambda given: [])],
        "looped": [await looped(), await looped(max_iterations=1)],
        "told": told,
    }
"""


@pytest.mark.row("D6", "D7", "D17", "D18", "D19", "D20", "D23", "D26")
@pytest.mark.asyncio
async def test_parallel_condition_loop_and_router_in_all_their_cases(home: Path):
    output = output_of(await run_source(home, NODES))

    assert output["most"] == 2
    assert output["wide"] == "\n\n".join(f"[s{n}]: w" for n in range(6))
    assert output["partly"] == [False, "G", None, "failed"]
    assert output["cases"] == [
        [["M", True, "completed"], ["Y", True, "completed"]],
        [["F", True, "skipped"], ["N", True, "completed"]],
    ]
    assert output["routed"] == [
        ["1", True, None, "completed"],
        ["[two]: 3\n\n[one]: 1", True, None, "completed"],
        [None, False, "Route 'zz' not found. The router has: one, two", "failed"],
        [None, True, None, "skipped"],
    ]
    assert output["looped"] == [[2, 2, True], [1, 1, True]]
    assert output["told"] == [
        ["WorkflowStartedEvent", ""], ["StepStartedEvent", "l"], ["LoopIterationEvent", "l"], [1, 1],
        ["StepStartedEvent", "n"], ["StepCompletedEvent", "n"], ["StepCompletedEvent", "l"],
        ["StepStartedEvent", "c"], ["StepSkippedEvent", "c"],
        ["StepStartedEvent", "bad"], ["StepErrorEvent", "bad"], ["WorkflowErrorEvent", ""],
    ]  # fmt: skip


STATE = """
def deploy(given):
    given.session_state["target"] = given.session_state["env"] + ":" + given.input
    given.session_state.pop("old", None)

async def check(given):
    return [given.session_state["target"], "old" in given.session_state]

wf = Workflow("deploy", session_state={"env": "staging", "old": 1, "deep": {"kept": True}}, steps=[deploy, check])

async def run(ctx, then: str = ""):
    first = await wf.arun("a")
    second = await wf.arun("b", session_state={"env": "production"})
    return [first.content, second.content, first.session_state, second.session_state, wf.session_state]
"""


@pytest.mark.row("D25")
@pytest.mark.asyncio
async def test_the_session_state_is_merged_for_a_run_and_shared_by_its_steps(home: Path):
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("twice", IMPORTS + STATE)
        await session.add_workflow("stored", IMPORTS + STATE, entry="wf")
        twice = await session.run("twice")
        stored = await session.run("stored", input="c", session_state={"env": "test"})

    first = {"env": "staging", "target": "staging:a", "deep": {"kept": True}}
    second = {"env": "production", "target": "production:b", "deep": {"kept": True}}
    own = {"env": "staging", "old": 1, "deep": {"kept": True}}
    assert output_of(twice) == [["staging:a", False], ["production:b", False], first, second, own]
    assert output_of(stored) == ["test:c", False]
    assert stored.session_state == {"env": "test", "target": "test:c", "deep": {"kept": True}}


@pytest.mark.row("D5", "D29")
@pytest.mark.asyncio
async def test_a_stored_workflow_fails_with_its_steps_error_and_goes_on_from_there(home: Path, outside: Outside):
    source = (
        "import json\n"
        "def first(given):\n    given.session_state['n'] = 1\n"
        "    tools.curl.post(url=given.input + '/effect/first', json={})\n"
        "def shaky(given):\n"
        "    count = json.loads(tools.fetch(url=given.input + '/read/shaky'))['count']\n"
        "    if count == 1:\n        raise ValueError('not yet')\n"
        "    return [count, given.session_state]\n"
        "flow = Workflow('w', steps=[first, Parallel(name='p', steps=[Step('shaky', executor=shaky), "
        "Step('calm', executor=lambda: 'calm')])])\n"
    )
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flow", IMPORTS + source)
        failed = await session.run("flow", input=outside.url)
        run = await session.wait(await session.resume(failed.id))

    assert failed.status is RunStatus.FAILED
    assert failed.error is not None
    assert (failed.error.type, failed.error.message, failed.error.step) == ("ValueError", "not yet", "shaky")
    assert output_of(run) == '[shaky]: [2, {"n": 1}]\n\n[calm]: calm'
    assert outside.effects == {"first": 1}


@pytest.mark.asyncio
async def test_what_a_person_rejects_in_a_node_rejects_the_run(home: Path):
    source = (
        "wf = Workflow('w', steps=[Parallel(name='p', steps=[Step('gate', executor=lambda: 1, requires_approval=True),"
        " Step('other', executor=lambda: 2)]), Step('after', executor=lambda: 3)])\n"
    )
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flow", IMPORTS + source)
        waiting = await session.run("flow")
        run = await session.wait(await session.reject(waiting, "no"))

    assert run.status is RunStatus.REJECTED
    assert run.completed_steps == ("other",)


@pytest.mark.row("D27")
@pytest.mark.asyncio
async def test_the_script_form_runs_as_code_and_its_bottom_call_is_left_out_when_stored(home: Path):
    script = IMPORTS + (
        "import asyncio\n"
        "workflow = Workflow(name='w', steps=[Step('up', executor=lambda given: given.input.upper())])\n"
        "async def main():\n"
        "    result = await workflow.arun('text')\n"
        "    print(result.content)\n"
        "    return result.content\n"
        "asyncio.run(main())\n"
    )
    async with asyncio.timeout(60), Session(home) as session:
        ran = await session.run_code(script)
        await session.add_workflow("stored", script, entry="workflow")
        stored = await session.run("stored", input="other")

    assert output_of(ran) == "TEXT"
    assert output_of(stored) == "OTHER"


@pytest.mark.row("D11", "D2")
@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("Step(name='a')", "has no work"),
        ("Step('a', executor=f, agent=f)", "has executor and agent"),
        ("Step('a', executor=f), Loop(name='l', steps=[])", "The Loop in line 3 has no steps"),
    ],
)
def test_a_node_that_cannot_work_is_refused_with_its_line(step: str, words: str) -> None:
    with pytest.raises(InvalidSource) as caught:
        analyse(f"{IMPORTS}def f(given): ...\nwf = Workflow('w', steps=[{step}])\n", name="w")

    assert words in caught.value.message
    assert caught.value.line == 3


@pytest.mark.row("D12")
def test_two_steps_of_one_name_are_warned_of() -> None:
    source = (
        IMPORTS + "wf = Workflow('w', steps=[Step('a', executor=f),\n    [Step('a', executor=f)]])\ndef f(g): ...\n"
    )

    [warning] = [item for item in analyse(source, name="w").warnings if item.code == "duplicate_step_name"]

    assert "'a' (lines 2, 3)" in warning.message


@pytest.mark.row("D2", "D11", "D12", "D19")
@pytest.mark.asyncio
async def test_what_makes_no_sense_is_refused_by_the_constructors(home: Path):
    source = (
        "def f(given): ...\n"
        "def said(make):\n"
        "    try:\n        return make()\n"
        "    except (TypeError, ValueError) as error:\n        return f'{type(error).__name__}: {error}'\n"
        "none = []\n"
        "async def run(ctx):\n"
        "    latest = await Workflow('w', steps=[Step('a', executor=lambda: 1), Step('a', executor=lambda: 2)]).arun()\n"
        "    gave = [(await Workflow('w', steps=[node]).arun('x')).error for node in (\n"
        "        Router('pick', selector=lambda given: 5, routes={'a': f, 'b': f}),\n"
        "        Router('pick', selector=lambda given: ['a', 5], routes={'a': f}),\n"
        "        Condition('c', condition=lambda given: given.nothing, true_steps=f))]\n"
        "    return [said(make) for make in (\n"
        "        lambda: Step(**{'name': 'a'}), lambda: Step('a', **{'agent': f, 'executor': f}),\n"
        "        lambda: Step('a', agent=5), lambda: Step('a', executor=5), lambda: Workflow('w', steps=none),\n"
        "        lambda: Loop('l', f, max_iterations=0), lambda: Parallel(f, max_concurrency=0),\n"
        "        lambda: Workflow('w', steps=[5]), lambda: Router('r', selector=f, routes={}),\n"
        "        lambda: Workflow('w', steps=f).step('more'), lambda: Step('a', executor=f, retry=1),\n"
        "        lambda: Step('a\\n', executor=f),\n"
        "        lambda: Router('r', selector=lambda: 'a', routes={'a': f}), lambda: Router('r', selector=f, routes=[f]),\n"
        "        lambda: Condition('c', condition='yes'), lambda: Loop('l', f, end_condition=lambda a, b: a),\n"
        "        lambda: Step('a', executor=lambda a, b: a), lambda: Step('a', agent=print, input_builder=5),\n"
        "        lambda: Step('a', executor=f, timeout=float('nan')), lambda: Step('a', executor=f, timeout=float('inf')),\n"
        "        lambda: Step('a', executor=f, retry_delay=True), lambda: Workflow('w', steps=f).events.on('any', f)\n"
        "        )] + gave + [latest.content, latest.get_step_content('a')]\n"
    )

    output = output_of(await run_source(home, source))

    assert output == [
        "ValueError: step 'a' has no work: give exactly one of agent=, team=, executor=",
        "ValueError: step 'a' has agent and executor: give exactly one of agent=, team=, executor=",
        "TypeError: step 'a': agent= is an agent, not a int",
        "TypeError: step 'a': executor= is a function of the StepInput, not a int",
        "ValueError: 'the workflow w' has no steps",
        "ValueError: max_iterations is a whole number of at least 1, not 0",
        "ValueError: max_concurrency is a whole number of at least 1, not 0",
        "TypeError: a step is a Step, another node, an agent or a function, not a int",
        "ValueError: router 'r' has no routes",
        "TypeError: the workflow 'w' has its steps already: add Step(name=..., executor=...) there",
        "TypeError: a step has no option retry",
        "ValueError: a node's name is 1 to 200 printable characters, not 'a\\n'",
        "TypeError: router 'r': selector= is called with the StepInput; <lambda>() does not take that",
        "TypeError: router 'r': routes= is a dict of names and steps, not a list",
        "TypeError: condition 'c': condition= is a function of the StepInput, not a str",
        "TypeError: loop 'l': end_condition= is called with a list of StepOutput; <lambda>(a, b) does not take that",
        "TypeError: step 'a': executor= is called with the StepInput; <lambda>(a, b) does not take that",
        "TypeError: step 'a': agent= is an agent, not a builtin_function_or_method",
        "ValueError: timeout is a number from 0 to 3153600000, not nan",
        "ValueError: timeout is a number from 0 to 3153600000, not inf",
        "ValueError: retry_delay is a number from 0 to 3153600000, not True",
        "TypeError: events.on takes a class of events such as StepCompletedEvent, not 'any'",
        "TypeError: router 'pick': selector= returned 5; it returns the name of a route, a list of names, or none for no "
        "route; there are a, b",
        "TypeError: router 'pick': selector= returned ['a', 5]; it returns the name of a route, a list of names, or none "
        "for no route; there are a",
        "AttributeError: 'StepInput' object has no attribute 'nothing'",
        2,
        2,
    ]


@pytest.mark.parametrize(
    "definition",
    ["async def run(ctx): return (await wf.arun('x')).content", "def run(ctx): return wf.run('x').content"],
)
@pytest.mark.asyncio
async def test_nodes_run_from_async_and_from_plain_code(home: Path, definition: str):
    source = (
        "async def slow(given, ctx):\n    return await ctx.step('inner', lambda: given.input + '!')\n"
        "wf = Workflow('w', steps=[Parallel(name='p', steps=[Step('a', executor=slow), Step('b', executor=str)])])\n"
    )
    run = await run_source(home, source.replace("executor=str", "executor=lambda given: given.input") + definition)

    assert output_of(run) == "[a]: x!\n\n[b]: x"
