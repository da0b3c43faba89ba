"""Agents in the shapes that workflows have: steps of any work, fans, teams; resumed in another process."""

from pathlib import Path

import pytest

from stepwell_server import Session
from support.models import Fail, ModelServer, Say, last_text

pytestmark = pytest.mark.asyncio

RESUMED = '''
"""Fails once after an agent's step."""
from stepwell import Agent

writer = Agent("writer")

async def run(ctx):
    research = await ctx.step("research")(writer.arun("topic"))
    three = await ctx.parallel(writer("1"), writer("2"), writer("3"))
    five = [await ctx.step("n")(5), await ctx.step("n")(lambda: 5)]
    both = await ctx.step("n")(ctx.parallel(writer.chat("a"), writer.chat("b")))
    tools.fetch(url="nonsense") if not await ctx.state.get("mended") else None
    return {"output": research.output, "cost": research.cost_usd, "three": [r.output for r in three], "five": five, "both": both}
'''


@pytest.mark.row("N7", "N8", "N9")
async def test_results_keep_their_type_in_another_process_and_nobody_is_asked_again(home: Path, models: ModelServer):
    models.script = lambda request: Say(last_text(request))
    async with Session(home) as session:
        await session.add_workflow("resumed", RESUMED)
        failed = await session.run("resumed")
        assert failed.error is not None
        assert failed.error.type == "ToolError", failed.error
    asked = len(models.requests)
    async with Session(home) as session:
        mended = RESUMED.replace('tools.fetch(url="nonsense") if', "None if")
        await session.add_workflow("resumed", mended, replace=True)
        run = await session.resume(failed, version="current")

    assert run.output == {"output": "topic", "cost": 0.01, "three": ["1", "2", "3"], "five": [5, 5], "both": ["a", "b"]}
    assert asked == len(models.requests) == 6
    assert run.tokens_used == 60
    assert run.cost_usd == 0.06


FANS = '''
"""The helpers over many items, with an agent."""
from stepwell import Agent, Workflow

async def run(ctx):
    agent = Agent("one")
    out = await Workflow.fan_out([str(n) for n in range(20)], agent.chat, concurrency=3)
    mapped = await Workflow.map(agent.chat, ["x", "y"], prefix="say ", step_prefix="load")
    joined = await Workflow.reduce(mapped, agent, separator=" and ")
    taken = await Workflow.branch(len(joined.output) > 3, if_true=agent.chat("long"), if_false=agent.chat("short"))
    return [out, mapped, joined.output, taken]
'''


@pytest.mark.row("N27")
async def test_fans_maps_and_branches_take_agents(home: Path, models: ModelServer):
    models.script = lambda request: Say(last_text(request))
    async with Session(home) as session:
        await session.add_workflow("fans", FANS)
        run = await session.run("fans")

    assert run.output == [[str(n) for n in range(20)], ["say x", "say y"], "say x and say y", "long"], run.error
    assert models.most_at_once <= 3
    assert {"load_0", "load_1"} <= set(run.step_results)
    assert len(models.requests) == 24


FIXED = '''
"""Asks, then does something that version one gets wrong."""
from stepwell import Agent

async def run(ctx):
    first = await Agent("one", tools=["fetch"]).chat("hello")
    second = await ctx.step("again", Agent("two"), "there")
    return BROKEN
'''


async def test_a_mended_version_goes_on_with_the_answers_that_were_paid_for(home: Path, models: ModelServer):
    async with Session(home) as session:
        await session.add_workflow("fixed", FIXED)
        failed = await session.run("fixed")
        await session.add_workflow("fixed", FIXED.replace("BROKEN", "[first, second.output]"), replace=True)
        models.say(Fail(500))
        run = await session.resume(failed, version="current")

    assert run.output == ["echo: hello", "echo: there"], run.error
    assert len(models.requests) == 2


HOSTILE = '''
"""Sends frames that no honest workflow sends."""
from stepwell.sdk import runtime as inner

async def run(ctx, what: str):
    rt = inner.runtime()
    if what == "turn":
        return await rt.call("state", "run.get", [], {"key": "a"}, "one!agent/t1")
    if what == "step":
        report = inner.StepReport("one!agent/t1", "one", 1, True, 0.0, 0.0, "", value={"text": "[]"})
        await rt.record(report)
        return "recorded"
    if what == "more":
        return await rt.call("agent", "one", [], {"results": [{"id": 0, "text": "x"}]}, "one!more1")
    if what == "spec":
        return await rt.call("agent", "one", [], {"prompt": "x", "agent": {"budget_usd": -1, "max_turns": 10**9}}, "one")
    if what == "price":
        return await rt.call("agent", "one", [], {"prompt": "x", "agent": {"inference": {"max_tokens": -5}}}, "one")
    return await rt.call("agent", "one", [], {"prompt": ["not", "text"]}, "one")
'''


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("turn", "protocol_violation"),
        ("step", "protocol_violation"),
        ("more", "invalid_arguments"),
        ("spec", "invalid_arguments"),
        ("price", "invalid_arguments"),
        ("prompt", "invalid_arguments"),
    ],
)
async def test_a_guest_cannot_speak_for_a_model(home: Path, models: ModelServer, what: str, code: str):
    async with Session(home) as session:
        await session.add_workflow("hostile", HOSTILE)
        run = await session.run("hostile", what=what)

    assert run.error is not None, run.output
    assert run.error.code == code, run.error
    assert models.requests == []
