"""A call whose answer was lost is not blindly repeated: somebody decides."""

from pathlib import Path
from typing import Any

import pytest

from stepwell.model import RunStatus
from stepwell_server import Session
from support.outside import Outside
from support.server import LOCAL_HTTP, Server, call, make_home

PAY = """
import json

def run(base: str) -> dict:
    answer = tools.curl.post(url=base + "/effect/pay", json={})
    return {"paid": json.loads(answer)}
"""


async def lost(session: Session, outside: Outside) -> Any:
    """A run whose payment happened, with its answer lost."""
    outside.lose_answers("pay")
    await session.add_workflow("pay", PAY)
    run = await session.run("pay", base=outside.url)
    assert run.status is RunStatus.IN_DOUBT
    assert outside.effects == {"pay": 1}
    (wait,) = run.waiting_for
    assert (wait.kind, wait.name, wait.context["tool"]) == ("in_doubt", "curl.post", "curl.post")
    return run


@pytest.mark.row("A38")
@pytest.mark.asyncio
async def test_a_lost_answer_parks_the_run_and_a_value_can_be_given(tmp_path: Path, outside: Outside):
    async with Session(make_home(tmp_path / "home")) as session:
        run = await lost(session, outside)
        run = await session.wait(await session.resume(run, "value", value='{"receipt": 7}'))

    assert run.output == {"paid": {"receipt": 7}}
    assert outside.effects == {"pay": 1}


@pytest.mark.asyncio
async def test_a_lost_call_can_be_made_again(tmp_path: Path, outside: Outside):
    async with Session(make_home(tmp_path / "home")) as session:
        run = await lost(session, outside)
        outside.lose_answers()
        run = await session.wait(await session.resume(run, "retry"))

    assert run.output == {"paid": {"effect": "pay", "count": 2}}


@pytest.mark.asyncio
async def test_a_lost_call_can_be_given_up(tmp_path: Path, outside: Outside):
    async with Session(make_home(tmp_path / "home")) as session:
        run = await lost(session, outside)
        run = await session.wait(await session.resume(run, "fail"))

    assert run.status is RunStatus.FAILED
    assert run.error is not None
    assert run.error.type == "ToolError"
    assert outside.effects == {"pay": 1}


@pytest.mark.asyncio
async def test_read_only_calls_and_those_configured_so_are_made_again(tmp_path: Path, outside: Outside):
    config = '[http]\nallow_hosts = ["127.0.0.1"]\nallow_private = true\n[in_doubt]\n"curl.post" = "retry"\n'
    outside.lose_answers("pay")
    async with Session(make_home(tmp_path / "home", config)) as session:
        await session.add_workflow("pay", PAY)
        run = await session.run("pay", base=outside.url)

    # No decision is asked for; what is left is an error that the workflow may retry.
    assert run.status is RunStatus.FAILED
    assert run.error is not None
    assert run.error.type == "ToolError"


@pytest.mark.slow
@pytest.mark.asyncio
async def test_a_server_killed_inside_of_an_effect_leaves_the_run_in_doubt(server: Server, outside: Outside):
    held = "def run(base: str):\n    return tools.curl.post(url=base + '/hold/pay', json={})\n"
    async with server.client() as client:
        await call(client, "create_workflow", name="pay", source=held)
        run = await call(client, "run_workflow", name="pay", arguments={"base": outside.url})
    outside.wait_for_effect("pay")  # it has happened; its answer is held back
    server.kill()
    outside.release()
    server.start()
    async with server.client() as client:
        parked = await call(client, "get_run", run_id=run["run_id"], wait_seconds=30)
        assert parked["status"] == "in_doubt", parked
        assert "resume_run" in parked["next"]
        refused = await call(client, "approve_run", run_id=run["run_id"], decision="approve")
        assert refused["error"]["code"] == "conflict"
        await call(client, "resume_run", run_id=run["run_id"], decision="value", value="done")
        ended = await call(client, "get_run", run_id=run["run_id"], wait_seconds=30)

    assert (ended["status"], ended["output"]) == ("completed", "done")
    assert outside.effects == {"pay": 1}


@pytest.mark.asyncio
async def test_a_call_that_was_given_up_is_asked_about_again_when_the_run_is_resumed(tmp_path: Path, outside: Outside):
    async with Session(make_home(tmp_path / "home")) as session:
        run = await lost(session, outside)
        run = await session.wait(await session.resume(run, "fail"))
        assert run.status is RunStatus.FAILED
        run = await session.wait(await session.resume(run))
        assert run.status is RunStatus.IN_DOUBT
        run = await session.wait(await session.resume(run, "value", value='{"receipt": 7}'))

    assert run.output == {"paid": {"receipt": 7}}
    assert outside.effects == {"pay": 1}


@pytest.mark.asyncio
async def test_a_call_that_was_given_up_is_not_retried_by_its_step(tmp_path: Path, outside: Outside):
    outside.lose_answers("pay")
    source = (
        "def pay(base):\n    return tools.curl.post(url=base + '/effect/pay', json={})\n\n"
        "async def run(ctx, base):\n    return await ctx.step(pay, base, retries=2, retry_delay=0)\n"
    )
    async with Session(make_home(tmp_path / "home")) as session:
        await session.add_workflow("pay", source)
        run = await session.run("pay", base=outside.url)
        run = await session.wait(await session.resume(run, "fail"))
        assert run.status is RunStatus.FAILED
        run = await session.wait(await session.resume(run))

    assert run.status is RunStatus.IN_DOUBT
    assert outside.effects == {"pay": 1}


@pytest.mark.asyncio
async def test_an_approval_of_a_tool_is_used_once(tmp_path: Path, outside: Outside):
    config = LOCAL_HTTP + '[policy]\ntools = {"curl.get" = "approve"}\n'
    async with Session(make_home(tmp_path / "home", config)) as session:
        await session.add_workflow(
            "flow",
            "def run(base):\n    text = tools.curl.get(url='http://127.0.0.1:9/closed')\n    return text\n",
        )
        run = await session.run("flow", base=outside.url)
        (wait,) = run.waiting_for
        run = await session.wait(await session.approve(run, key=wait.key, digest=wait.digest))
        assert run.status is RunStatus.FAILED
        run = await session.wait(await session.resume(run))

    assert run.status is RunStatus.WAITING
