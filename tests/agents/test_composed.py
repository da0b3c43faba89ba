"""Agents in nodes, agents made of agents, and teams, against a scripted Messages API."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from stepwell.model import Run
from stepwell_server import Session
from support.models import Fail, ModelServer, Reply, Say, last_text

pytestmark = pytest.mark.asyncio


async def run_source(home: Path, source: str, /, **inputs: object) -> Run:
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flow", source)
        return await session.run("flow", **inputs)


def output_of(run: Run) -> Any:
    assert run.status == "completed", run.error
    return run.output


NODES = '''
"""Research from two sides, then write."""
from stepwell import Agent, Parallel, Step, Team, Workflow

researcher = Agent(instructions="You are a research specialist.")
analyst = Agent(instructions="You are a business analyst.")
writer = Agent(instructions="You are a technical writer.")

workflow = Workflow(
    name="research-pipeline",
    steps=[
        Parallel(name="research", steps=[
            Step(name="web-research", agent=researcher),
            Step(name="analysis", agent=analyst),
        ]),
        Step(name="writer", agent=writer, input_builder=lambda given: "write on " + given.prompt(), retries=1),
        Step(name="team", team=Team("crew", [Agent("a"), Agent("b")], "collaborate")),
    ],
)
'''


@pytest.mark.row("D1", "D8", "D9", "D15", "N28", "N15", "N16")
async def test_agents_without_names_are_asked_by_the_nodes_of_a_stored_workflow(home: Path, models: ModelServer):
    def script(request: dict[str, Any]) -> Reply:
        about = request["system"][0]["text"] if request.get("system") else ""
        return Say(f"{about.split()[-1] if about else 'plain'}: {last_text(request)[:30]}")

    models.script = script
    run = await run_source(home, NODES, input="wells")

    assert output_of(run).startswith("theirs.: wells")
    prompts = [last_text(request) for request in models.requests]
    assert sorted(prompts[:2]) == ["wells", "wells"]
    assert prompts[2] == (
        "write on wells\nPrevious step output:\n[web-research]: specialist.: wells\n\n[analysis]: analyst.: wells"
    )
    assert list(run.step_results)[-2:] == ["crew-leader", "team"]
    assert {"writer", "a", "b"} < run.step_results.keys()
    assert run.step_results["team"]["tokens_used"] == 30
    assert run.tokens_used == 60
    assert run.cost_usd == 0.06


async def test_a_step_with_retries_asks_its_agent_anew(home: Path, models: ModelServer):
    replies: list[Reply] = [Fail(400, "invalid_request_error"), Say("at last")]
    models.script = lambda request: replies.pop(0)

    run = await run_source(
        home,
        "from stepwell import *\nwf = Workflow('w', steps=[Step('s', agent=Agent('a'), retries=1)])\n",
        input="x",
    )

    assert output_of(run) == "at last"


COMPOSED = '''
"""Agents made of agents."""
from stepwell import Agent, ConditionalAgent, LoopAgent, ParallelAgent, SequentialAgent

class Upper:
    name = "upper"
    async def chat(self, text):
        return text.upper()

researcher = Agent("researcher")
writer = Agent("writer", model="claude-haiku-4-5")
checker, editor = Agent("checker"), Agent("editor")
review = ParallelAgent(name="review", agents=[checker, editor])
pipeline = SequentialAgent(name="pipeline", agents=[researcher, writer, review])

async def starts_with(text):
    return text[0]

async def run(ctx):
    both = ParallelAgent("both", [Upper(), checker], merge=lambda texts: "|".join(reversed(texts)))
    one = ConditionalAgent("one", starts_with, branches={"a": checker, "b": Upper()})
    other = ConditionalAgent("other", lambda text: text[0], {"a": checker, "b": Upper()}, default_branch="b")
    grow = LoopAgent("grow", checker, should_stop=lambda text, n: n == 2)
    until = LoopAgent("until", Upper(), should_stop=lambda text: text == "X")
    result = await pipeline.arun("topic")
    return {
        "pipeline": [result.output, result.tokens_used, result.cost_usd, result.steps],
        "step": (await ctx.step("asked", pipeline.chat("again"), retries=1)).count("echo"),
        "merged": await both.chat("x"),
        "cases": [await one.chat("an"), await one.chat("be"), await one.chat("zz"), await other.chat("zz")],
        "loops": [await grow.chat("g"), await until.chat("x"),
            (await LoopAgent(agent=Upper()).arun("y")).output],
        "beside": await ctx.parallel(both.arun("p"), one.chat("be")),
    }
'''


@pytest.mark.row("S1", "S2", "S3", "S4", "S5", "S6")
async def test_agents_made_of_agents_nest_and_every_one_is_a_step(home: Path, models: ModelServer):
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flow", COMPOSED)
        run = await session.run("flow")
        keys = [entry.key for entry in await session.app.engine.journal(run.id) if entry.kind == "step"]
        events = [(e.type, e.data.get("node"), e.data.get("depth")) for e in await session.timeline(run.id)]
        alone = COMPOSED.partition("async def starts_with")[0]
        await session.add_workflow("alone", alone)
        stored = await session.run("alone", input="wells")

    output = output_of(run)
    again = "echo: echo: echo: wells"
    assert output_of(stored) == f"{again}\n\n{again}"
    assert sorted(stored.completed_steps) == ["checker", "editor", "researcher", "writer"]
    twice = "echo: echo: echo: topic"
    assert output["pipeline"] == [f"{twice}\n\n{twice}", 40, 0.03003, 4]
    assert output["step"] == 6
    assert output["merged"] == "echo: x|X"
    assert output["cases"] == ["echo: an", "BE", "No branch matched 'z'", "ZZ"]
    assert output["loops"] == ["echo: echo: g", "X", "Y"]
    assert output["beside"][0]["output"] == "echo: p|P"
    assert output["beside"][1] == "BE"
    assert keys[:2] == ["pipeline~/researcher", "pipeline~/writer"]
    assert set(keys[2:4]) == {"pipeline~/review~/checker", "pipeline~/review~/editor"}
    assert [key for key in keys if key.startswith("grow")] == ["grow~1/checker", "grow~2/checker"]
    assert ("node.started", "review", 1) in events
    assert sum(event[:2] == ("node.iteration", "LoopAgent") for event in events) == 10
    assert {request["model"] for request in models.requests} > {"claude-haiku-4-5"}


TEAMS = '''
"""Teams."""
from stepwell import Agent, Team

alpha = Agent("alpha", "Knows letters.")
beta = Agent("beta", "Knows numbers.")

def said(make):
    try:
        return make()
    except (TypeError, ValueError) as error:
        return str(error)

async def run(ctx):
    routed = await Team("desk", agents=[alpha, beta], router_model="claude-haiku-4-5").arun("what is 2?")
    directed = await Team("office", agents=[alpha, beta], mode="coordinate").arun("both")
    try:
        await Team("lost", [alpha, beta]).arun("lost")
    except Exception as error:
        lost = str(error)
    return [routed.output, routed.routed_to, directed.output, directed.tokens_used, lost,
        said(lambda: Team("t", [Agent(), Agent()])), said(lambda: Team("t", [alpha], "vote")), said(lambda: Team("t"))]
'''


@pytest.mark.row("N28", "D9")
async def test_a_leader_chooses_directs_or_is_told_whom_it_may_choose(home: Path, models: ModelServer):
    def script(request: dict[str, Any]) -> Reply:
        system = str(request.get("system"))
        if "Choose who" in system:
            assert "- alpha: Knows letters." in system
            return Say("zz" if last_text(request) == "lost" else "Beta.")
        if "your team" in system and len(request["messages"]) == 1:
            return Say(calls=(("alpha", {"prompt": "letters"}), ("beta", {"prompt": "numbers"})))
        if "your team" in system:
            return Say(f"so {last_text(request)}")
        return Say(f"{'letters' if 'letters' in system else 'numbers'} of {last_text(request)}")

    models.script = script
    output = output_of(await run_source(home, TEAMS))

    assert output[:2] == ["numbers of what is 2?", "beta"]
    assert models.requests[0]["model"] == "claude-haiku-4-5"
    assert output[2].startswith("so ")
    assert "letters of letters" in output[2]
    assert "numbers of numbers" in output[2]
    assert output[4] == "the leader of team 'lost' chose 'zz', and there are: alpha, beta"
    assert output[5:] == [
        "team 't': every agent has a name of its own, and these are agent, agent",
        "mode is one of route, coordinate, collaborate, not 'vote'",
        "'t' has no agents",
    ]


@pytest.mark.row("S4", "S5")
async def test_a_composed_agent_that_cannot_work_is_refused(home: Path):
    source = (
        "from stepwell import *\n"
        "def said(make):\n    try:\n        return make()\n"
        "    except (TypeError, ValueError) as error:\n        return str(error)\n"
        "def run():\n    return [said(make) for make in (lambda: SequentialAgent('s', agents=[]),\n"
        "        lambda: ParallelAgent('p', agents=[5]), lambda: ConditionalAgent('c', branches={'a': Agent()}),\n"
        "        lambda: ConditionalAgent('c', str, {'a': Agent()}, default_branch='b'),\n"
        "        lambda: LoopAgent('l', Agent(), max_iterations=0),\n"
        "        lambda: LoopAgent('l', Agent(), should_stop=lambda: True), lambda: ParallelAgent('p', [Agent()], merge=5),\n"
        "        lambda: ConditionalAgent('c', lambda text: [text], {'a': Agent()}).chat('x'),\n"
        "        lambda: Agent('a', budget_usd=float('inf')), lambda: Agent('a', temperature=float('nan')),\n"
        "        lambda: Agent('a', max_tokens=True), lambda: Agent('a', max_turns=10**9))]\n"
    )

    assert output_of(await run_source(home, source)) == [
        "'s' has no agents",
        "'p': an agent, or an object with arun or chat, not a int",
        "agent 'c': condition= is a function of the text, not a NoneType",
        "agent 'c': default_branch= is an agent, or one of the branches",
        "max_iterations is a whole number of at least 1, not 0",
        "agent 'l': should_stop= is called with the text, and the iteration if it may; <lambda>() does not take that",
        "agent 'p': merge= is a function of the list of the agents' texts, not a int",
        "agent 'c': condition= returned ['x']; it returns the key of a branch",
        "budget_usd is a number of dollars from 0 (no bound) to 1,000,000, not inf",
        "temperature is a number from 0 to 2, not nan",
        "max_tokens is a whole number from 1 to 1,000,000, not True",
        "max_turns is a whole number from 1 to 1000, not 1000000000",
    ]


@pytest.mark.row("D28")
async def test_a_missing_key_is_named_by_the_variable(home: Path, models: ModelServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    run = await run_source(home, NODES, input="wells")

    assert run.status == "failed"
    assert run.error is not None
    assert "ANTHROPIC_API_KEY" in run.error.message
    assert models.requests == []
