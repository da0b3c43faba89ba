"""Agents whose tools wait for a person, and agents that are not waited for."""

import asyncio
from pathlib import Path

import pytest

from stepwell_server import Session
from support.models import ModelServer, Reply, Say, last_text
from support.outside import Outside
from support.server import LOCAL_HTTP, make_home

pytestmark = pytest.mark.asyncio

POSTER = '''
"""An agent that posts."""
from stepwell import Agent

def note(text: str) -> str:
    ctx.approve(f"note {text}?", name="note")
    return f"noted {text}"

async def run(ctx, base: str):
    agent = Agent("poster", tools=["curl.post", note])
    return (await agent(base)).output
'''


def post_twice(models: ModelServer, base: str) -> None:
    def script(request: dict[str, object]) -> Reply:
        messages = request["messages"]
        assert isinstance(messages, list)
        if len(messages) == 1:
            urls = [f"{base}/effect/a", f"{base}/effect/b"]
            return Say(calls=(*(("curl__post", {"url": url, "json": {}}) for url in urls), ("note", {"text": "x"})))
        return Say(last_text(request))

    models.script = script


@pytest.fixture
def strict(tmp_path: Path, models: ModelServer) -> Path:
    return make_home(tmp_path / "strict", LOCAL_HTTP + models.config('[policy]\ntools = {"curl.*" = "approve"}\n'))


async def test_a_person_decides_on_each_tool_call_of_an_agent(strict: Path, models: ModelServer):
    with Outside().serving() as outside:
        post_twice(models, outside.url)
        async with Session(strict) as session:
            await session.add_workflow("poster", POSTER)
            waiting = await session.run("poster", base=outside.url)
            keys = [wait.key for wait in waiting.waiting_for]
            assert len(keys) == 2
            assert waiting.status == "waiting"
            assert waiting.waiting_for[0].context["arguments"]["url"] == f"{outside.url}/effect/a"
            assert outside.effects == {}
            waiting = await session.approve(waiting, key=keys[0])
        # Another process goes on with it, and asks no model again for what is recorded.
        async with Session(strict) as session:
            waiting = await session.reject(waiting, "not that one", key=keys[1])
            assert [wait.prompt for wait in waiting.waiting_for] == ["note x?"]
            run = await session.approve(waiting)

    assert run.status == "completed", run.error
    assert outside.effects == {"a": 1}
    assert '"effect": "a"' in run.output
    assert "not that one" in run.output
    assert run.output.endswith("noted x")
    assert len(models.requests) == 2


IMPATIENT = '''
"""Gives an agent up."""
import asyncio
from stepwell import Agent

def slow() -> str:
    ctx.wait_for_event("never")
    return ""

async def run(ctx, what: str):
    agent = Agent("one", tools=[slow])
    if what == "step":
        try:
            await ctx.step("ask", agent, "go", timeout=3)
        except TimeoutError:
            return "late"
    task = asyncio.ensure_future(ctx.step("ask", agent, "go"))
    await ctx.wait_for_event("enough")
    task.cancel()
    return "enough"
'''


async def test_an_agent_that_is_not_waited_for_ends_with_its_turn(home: Path, models: ModelServer):
    models.script = lambda request: Say("x", calls=(("slow", {}),), hold="gate")
    async with Session(home) as session:
        await session.add_workflow("impatient", IMPATIENT)
        started = await session.start("impatient", what="branch")
        await asyncio.to_thread(models.wait_for_requests, 1)
        await session.emit("enough", run=started)
        run = await session.wait(started)
        ended = await session.run("impatient", what="step")
        models.open_gate("gate")
        replayed = await session.compare(run)

    assert ended.output == "late", ended.error
    assert run.output == "enough", run.error
    assert replayed.difference is None
    assert len(models.requests) == 2
