"""Agents called from workflows, against a scripted Messages API."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from stepwell.engine import StartOptions
from stepwell.sdk.conversation import MAX_CHARACTERS, MAX_EXCHANGES, Conversations
from stepwell_server import Session
from support.models import KEY, Break, Fail, ModelServer, Reply, Say, last_text

pytestmark = pytest.mark.asyncio

TWO = '''
"""Two agents, one after the other."""
from stepwell import Agent

research = Agent("research", "You research.")
write = Agent("write", "You write.", max_tokens=100)

async def run(ctx, topic: str):
    notes = await ctx.step("notes")(research.arun(f"Research {topic}"))
    text = await ctx.step("text", write, notes, retries=2)
    return text
'''


@pytest.mark.row("N2", "N3", "N15", "N16", "N25")
async def test_agents_are_asked_in_steps_and_their_tokens_add_up(home: Path, models: ModelServer):
    async with Session(home) as session:
        await session.add_workflow("two", TWO)
        run = await session.run("two", topic="wells")

    assert run.status == "completed", run.error
    assert run.output["output"] == "echo: echo: Research wells"
    assert run.output["tokens_used"] == 10
    assert run.tokens_used == 20
    assert run.cost_usd == 0.02
    assert [last_text(request) for request in models.requests] == ["Research wells", "echo: Research wells"]
    assert run.step_results["notes"]["output"] == "echo: Research wells"
    assert models.requests[1]["max_tokens"] == 100
    assert KEY in models.requests[0]["_key"]


PLAIN = '''
"""Plain code."""
def run():
    return agents.helper("hello").output + "|" + ctx.agent("other", instructions="x").chat("bye")
'''


async def test_plain_code_asks_agents_of_the_host_and_gets_values(home: Path, models: ModelServer):
    with (home / "stepwell.toml").open("a") as file:
        file.write('[agents.helper]\ninstructions = "You help."\n')
    async with Session(home) as session:
        await session.add_workflow("plain", PLAIN)
        run = await session.run("plain")

    assert run.status == "completed", run.error
    assert run.output == "echo: hello|echo: bye"
    assert models.requests[0]["system"][0]["text"] == "You help."


TOOLS = '''
"""An agent with tools of the host, of the module, and a workflow."""
from stepwell import Agent

def double(n: int) -> int:
    """Twice the number."""
    return n * 2

helper = Agent("helper", "Use tools.", tools=[double, tools.fetch, "workflows.greet"])

async def run(ctx):
    return await helper("go")
'''


async def test_an_agent_calls_tools_functions_and_workflows_beside_each_other(home: Path, models: ModelServer):
    def script(request: dict[str, Any]) -> Reply:
        if len(request["messages"]) == 1:
            return Say(
                "let me see",
                blocks=({"type": "text", "text": ""}, {"type": "text", "text": " \n"}),
                calls=(
                    ("double", {"n": 21}),
                    ("fetch", {"url": "nonsense"}),
                    ("workflow__greet", {"name": "Bob"}),
                    ("nothing", {}),
                ),
            )
        return Say(last_text(request))

    models.script = script
    async with Session(home) as session:
        await session.add_workflow("greet", "def run(name: str):\n    return f'hi {name}'\n")
        await session.add_workflow("tooled", TOOLS)
        run = await session.run("tooled")
        replayed = await session.compare(run)

    assert run.status == "completed", run.error
    said = run.output["output"]
    assert said.startswith("42 ")
    assert "hi Bob" in said
    assert "There is no tool 'nothing'" in said
    assert "ToolError" in said
    assert run.step_results["double"] == 42
    assert replayed.difference is None
    given_back = models.requests[1]["messages"][1]["content"]  # providers refuse texts of nothing
    assert [block["text"] for block in given_back if block["type"] == "text"] == ["let me see"]
    offered = {tool["name"]: list(tool["input_schema"]["properties"]) for tool in models.requests[0]["tools"]}
    assert "url" in offered["fetch"]
    assert offered["double"] == ["n"]
    assert offered["workflow__greet"] == ["name"]


TYPED = '''
"""An answer of a type."""
from dataclasses import dataclass
from stepwell import Agent

@dataclass
class City:
    name: str
    people: int

    def big(self):
        return self.people > 1000

async def run(ctx, many: bool = False):
    if many:
        found = await Agent("lister")("list", output_type=list[int])
        return sum(found.output)
    found = await Agent("geo", output_type=City)("Which city?")
    return [found.output.big(), found.output.name, found.steps]
'''


async def test_an_output_is_of_the_type_asked_for_with_one_turn_to_repair_it(home: Path, models: ModelServer):
    async with Session(home) as session:
        await session.add_workflow("typed", TYPED)
        models.say(Say(calls=(("submit_result", {"name": "Bath", "people": 94000}),)))
        right = await session.run("typed")
        models.say(Say("Bath, I think"), Say(calls=(("submit_result", {"name": "Bath", "people": 94000}),)))
        repaired = await session.run("typed")
        models.say(Say(calls=(("submit_result", {"name": "Bath", "people": "many"}),)))
        wrong = await session.run("typed")
        models.say(Say('```json\n{"name": "Bath", "people": 10}\n```'))
        in_text = await session.run("typed")
        models.say(Say(calls=(("submit_result", {"value": [1, 2]}),)))
        listed = await session.run("typed", many=True)

    assert right.output == [True, "Bath", 1], right.error
    assert repaired.output == [True, "Bath", 2], repaired.error
    assert in_text.output == [False, "Bath", 1], in_text.error
    assert listed.output == 3, listed.error
    assert wrong.error is not None
    assert wrong.error.code == "invalid_output"
    assert "people must be integer" in wrong.error.message
    assert wrong.tokens_used == 20


ONE = '''
"""One agent."""
from stepwell import Agent, AgentError

async def run(ctx, catch: bool = False, max_turns: int = 5):
    try:
        return (await Agent("one", "Be brief.", max_turns=max_turns, max_tokens=10)("hi")).output
    except AgentError as error:
        if not catch:
            raise
        return [error.code, error.partial, error.agent]
'''


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (
            Say("I will", stop="refusal", details={"type": "refusal", "category": "bio", "explanation": "No."}),
            "refused",
        ),
        (Say("Once upon", stop="max_tokens"), "truncated"),
        (Say("I call", calls=(("nothing", {}),), stop="max_tokens"), "truncated"),
        (Say("Too", stop="model_context_window_exceeded"), "context_window"),
    ],
)
async def test_refusals_and_truncation_are_errors_with_what_was_said(
    home: Path, models: ModelServer, reply: Say, code: str
):
    models.say(reply, Say("fine"))
    async with Session(home) as session:
        await session.add_workflow("one", ONE)
        caught = await session.run("one", catch=True)
        models.say(reply, Say("fine"))
        failed = await session.run("one")
        resumed = await session.resume(failed)

    assert caught.output == [code, reply.text, "one"]
    assert failed.error is not None
    assert failed.error.code == code
    assert resumed.output == "fine", resumed.error
    assert resumed.tokens_used == 20


async def test_an_agent_has_so_many_turns(home: Path, models: ModelServer):
    models.say(Say(calls=(("nothing", {}),)))
    async with Session(home) as session:
        await session.add_workflow("one", ONE)
        run = await session.run("one", max_turns=3)

    assert run.error is not None
    assert run.error.code == "max_turns"
    assert len(models.requests) == 3


@pytest.mark.parametrize(
    "trouble",
    [
        Fail(429, "rate_limit_error", {"retry-after": "0.01"}),
        Fail(529, "overloaded_error", {"retry-after-ms": "5"}),
        Fail(500, headers={"retry-after-ms": "5"}),
    ],
    ids=str,
)
async def test_what_passes_is_tried_again_when_the_server_says(home: Path, models: ModelServer, trouble: Fail):
    models.say(trouble, trouble, Say("at last"))
    async with Session(home) as session:
        await session.add_workflow("one", ONE)
        run = await session.run("one")
        events = await session.timeline(run)

    assert run.output == "at last", run.error
    assert run.tokens_used == 10
    assert run.cost_usd == 0.01
    assert len(models.requests) == 3
    again = [event.data["again_s"] for event in events if event.type == "model.failed"]
    assert again == [0.01, 0.01] if trouble.status == 429 else [0.005, 0.005]


@pytest.mark.parametrize("how", ["cut", "malformed", "short", "error"])
async def test_an_answer_that_breaks_off_is_asked_for_anew(
    home: Path, models: ModelServer, how: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("stepwell.engine.turns.FIRST_DELAY_S", 0.01)
    models.say(Break(how), Say("whole"))
    async with Session(home) as session:
        await session.add_workflow("one", ONE)
        run = await session.run("one")

    assert run.output == "whole", run.error
    assert run.tokens_used == 10
    assert len(models.requests) == 2


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Fail(400, "invalid_request_error"), "invalid_request"),
        (Fail(401, "authentication_error"), "invalid_key"),
        (Fail(404, "not_found_error"), "unknown_model"),
        (Fail(429, "rate_limit_error", {"retry-after": "7200"}), "rate_limited"),
    ],
    ids=str,
)
async def test_what_does_not_pass_fails_at_once(home: Path, models: ModelServer, reply: Fail, code: str):
    models.say(reply)
    async with Session(home) as session:
        await session.add_workflow("one", ONE)
        run = await session.run("one")

    assert run.error is not None
    assert (run.error.type, run.error.code) == ("AgentError", code)
    assert "scripted" in run.error.message
    assert len(models.requests) == 1
    assert (run.tokens_used, run.cost_usd) == (0, 0.0)


PARALLEL = '''
"""Three beside each other."""
from stepwell import Agent

async def run(ctx):
    a, b, c = (Agent(name) for name in "abc")
    first = await ctx.parallel(a("1"), b("2"), c.chat("3"))
    return [str(part) for part in first] + await ctx.map(a.chat, ["4", "5"])
'''


@pytest.mark.row("N9")
async def test_agents_beside_each_other_overlap_and_keep_their_order(home: Path, models: ModelServer):
    models.script = lambda request: Say(last_text(request), hold="gate" if last_text(request) in "123" else "")
    async with Session(home) as session:
        await session.add_workflow("parallel", PARALLEL)
        started = await session.start("parallel")
        await asyncio.to_thread(models.wait_for_requests, 3)
        models.open_gate("gate")
        run = await session.wait(started)

    assert run.output == ["1", "2", "3", "4", "5"], run.error
    assert models.most_at_once == 3
    assert run.tokens_used == 50


CHATS = '''
"""Conversations with one agent."""
from stepwell import Agent

guide = Agent("guide", "Be brief.", max_tokens=10)

async def inside():
    return [await guide.chat("in a step"), await guide.chat("still there")]

def tell(text: str) -> str:
    return text

async def run(ctx):
    first = await guide.chat("one")
    await ctx.step("two", guide.chat("two"))
    apart = await ctx.step("apart", inside)
    fresh = (await guide("asked")).output
    await ctx.wait_for_user("Go on?")
    beside = await ctx.parallel(guide.chat("three"), guide.chat("four"))
    last = await ctx.step("five", guide.chat, "five")
    guide.forget()
    return [first, apart, fresh, last, await guide.chat("anew"), await ctx.step("plain", plain)]

def plain():
    ctx.step("inner", guide.chat, "a")
    return [guide.chat("b"), ctx.step("given")(guide.chat, "c")]
'''


@pytest.mark.row("S1")
async def test_chats_with_an_agent_are_one_conversation_also_over_restarts(home: Path, models: ModelServer):
    def script(request: dict[str, Any]) -> Reply:
        said = [m["content"] if isinstance(m["content"], str) else m["content"][0]["text"] for m in request["messages"]]
        assert [m["role"] for m in request["messages"]] == (["user", "assistant"] * len(said))[: len(said)]
        return Say(" ".join(text for text in said[::2]))

    models.script = script
    async with Session(home) as session:
        await session.add_workflow("chats", CHATS)
        run = await session.run("chats")
    async with Session(home) as session:
        run = await session.wait(await session.answer(run, "yes"))
        replayed = await session.compare(run)

    assert run.status == "completed", run.error
    assert run.output == [
        "one", ["in a step", "in a step still there"], "asked", "one two three four five", "anew", ["a b", "a b c"],
    ]  # fmt: skip
    assert replayed.difference is None
    assert len(models.requests) == 12
    assert run.tokens_used == 120


async def test_a_conversation_is_bounded() -> None:
    conversations = Conversations()
    for n in range(1000):
        history, exchange = conversations.begin("", f"{n}")
        exchange.answer = "x" * (n * 10)
        assert len(history) <= MAX_EXCHANGES
        assert sum(len(said) + len(answer) for said, answer in history) <= MAX_CHARACTERS
        assert not history or history[-1][0] == f"{n - 1}"
    conversations.begin("a@1/~2/b@1/", "inner")[1].answer = "y"
    assert conversations.begin("a@1/", "outer")[0] == []
    assert conversations.begin("a@1/~2/b@1/~1/", "same")[0] == [["inner", "y"]]


async def test_what_is_wrong_with_an_agent_is_said_where_it_is_written(home: Path, models: ModelServer):
    sources = {
        "has no 'output' before it is awaited: write (await ...).output": "ctx.step('s', Agent('a')('x').output)",
        "is a call that was never awaited: write `await` before the call": "ctx.approve('?', Agent('a')('x'))",
        "temperature is a number from 0 to 2": "Agent('a', temperature=3)",
        "max_turns is a whole number": "Agent('a', max_turns=0)",
        "a model has no parameter 'temprature'": "Agent('a', temprature=0)",
        "api_base is set by the operator": "Agent('a', api_base='http://evil')",
        "there is no agent 'nobody'": "agents.nobody('x')",
        "the tool 'fetsh', which there is not": "Agent('a', tools=['fetsh'])('x')",
        "nothing says where the model 'gtp-4' is asked": "Agent('a', model='gtp-4')('x')",
        "preset is one of": "Agent('a', preset='wild')",
    }
    async with Session(home) as session:
        for said, source in sources.items():
            run = await session.run_code(f"from stepwell import Agent\nawait {source}\n")
            assert run.error is not None, source
            assert said in run.error.message, run.error
    assert models.requests == []


async def test_a_missing_key_is_named(home: Path, models: ModelServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    async with Session(home) as session:
        await session.add_workflow("one", ONE)
        run = await session.run("one")

    assert run.error is not None
    assert run.error.code == "missing_key"
    assert "ANTHROPIC_API_KEY is not set" in run.error.message


async def test_recorded_turns_serve_another_version_without_a_key(
    home: Path, models: ModelServer, monkeypatch: pytest.MonkeyPatch
):
    async with Session(home) as session:
        await session.add_workflow("two", TWO)
        first = await session.run("two", topic="wells")
    asked = len(models.requests)
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    async with Session(home) as session:
        await session.add_workflow("two", TWO.replace("return text", "return text.output.upper()"), replace=True)
        again = await session.wait(await session.start("two", StartOptions(turns_from=first.id), topic="wells"))
        other = await session.wait(await session.start("two", StartOptions(turns_from=first.id), topic="rivers"))
        same = await session.compare(first, "current")

    assert again.output == "ECHO: ECHO: RESEARCH WELLS", again.error
    assert (again.tokens_used, again.cost_usd) == (0, 0.0)
    assert other.error is not None
    assert other.error.code == "not_recorded"
    assert same.difference is not None
    assert same.difference.recorded.startswith("the run") or same.replayed == 2
    assert len(models.requests) == asked


SAME = '''
"""The same question twice, with a person between."""
from stepwell import Agent

async def run(ctx):
    agent = Agent("a")
    said = [(await agent("hi")).output]
    await ctx.wait_for_user("Go on?")
    return [*said, (await agent("hi")).output]
'''


async def test_recorded_turns_are_served_in_their_order_over_a_restart(home: Path, models: ModelServer):
    models.say(Say("one"), Say("two"))
    async with Session(home) as session:
        await session.add_workflow("same", SAME)
        first = await session.run("same")
        first = await session.wait(await session.answer(first, "yes"))
        again = await session.wait(await session.start("same", StartOptions(turns_from=first.id)))
    async with Session(home) as session:
        again = await session.wait(await session.answer(again, "yes"))
    assert (first.output, again.output) == (["one", "two"], ["one", "two"])
    assert len(models.requests) == 2
