"""Workflows that say `durable=False` begin anew after a crash, and wait like any other."""

import asyncio
from typing import Any

import pytest

from stepwell.catalog.analysis import analyse
from stepwell.errors import InvalidSource
from support.outside import Outside
from support.server import Server, at_rest, call

BODY = """
    ctx.state.set("tried", await ctx.state.get("tried", 0) + 1)
    first = await ctx.step("first", tools.curl.post, url=base + "/effect/first", json={})
    saved = artifacts.save("newest", first)
    tools.fetch(url=base + "/gate/crash")
    answer = await ctx.wait_for_user("Go on?")
    await ctx.step("second", tools.curl.post, url=base + "/effect/second", json={})
    return [answer, await ctx.state.get("tried")]
"""
SAGA = """
options = dict(durable=False)

async def run(ctx, base: str):
    def book():
        return tools.curl.post(url=f"{base}/effect/book", json={})
    def cancel(booked):
        tools.fetch(url=f"{base}/gate/cancel")
        tools.curl.post(url=f"{base}/effect/cancel", json={})
    await ctx.step("book", book, undo=cancel)
    raise ValueError("no more rooms")
"""
HEADS = {
    "decorator": "from stepwell import Workflow\n@Workflow(durable=False)\nasync def report(ctx, base: str) -> list:",
    "lower": "from stepwell import workflow\n@workflow(durable=False)\nasync def report(ctx, base: str) -> list:",
    "options": "options = dict(durable=False)\nasync def run(ctx, base: str) -> list:",
    "object": "from stepwell import Workflow\nw = Workflow('w', durable=False)\n@w.step('all')\nasync def report(ctx, base: str) -> list:",
    "bare": "from stepwell import Workflow\n@Workflow\nasync def report(ctx, base: str) -> list:",
    "durable": "from stepwell import Workflow\n@Workflow(durable=True)\nasync def report(ctx, base: str) -> list:",
}


@pytest.mark.parametrize("head", HEADS)
def test_durable_is_read_from_wherever_it_stands(head: str) -> None:
    version = analyse(f'"""Report."""\n{HEADS[head]}{BODY}', name="report")

    durable: Any = {"bare": None, "durable": True}.get(head, False)
    assert version.options.get("durable") is durable


def test_durable_is_true_or_false() -> None:
    with pytest.raises(InvalidSource) as caught:
        analyse("from stepwell import Workflow\n@Workflow(durable='no')\nasync def report(wf): ...", name="report")

    assert (caught.value.line, caught.value.message) == (2, "`durable` is neither True nor False.")


async def crash_and_finish(server: Server, outside: Outside, head: str) -> dict[str, Any]:
    async with server.client() as client:
        source = f'"""Report."""\n{HEADS[head]}{BODY}'
        await call(client, "create_workflow", name="report", source=source)
        run = await call(client, "run_workflow", name="report", arguments={"base": outside.url})
    await asyncio.to_thread(outside.wait_for_read, "crash")
    server.kill()
    outside.open_gate("crash")
    server.start()
    async with server.client() as client:
        run = await at_rest(client, run["run_id"])
        assert run["status"] == "waiting", run
    server.stop()
    server.start()
    async with server.client() as client:
        await call(client, "approve_run", run_id=run["run_id"], decision="answer", value="yes")
        return await at_rest(client, run["run_id"])


@pytest.mark.slow
@pytest.mark.row("N4")
@pytest.mark.parametrize(("head", "times"), [("decorator", 2), ("durable", 1)])
@pytest.mark.asyncio
async def test_after_a_kill_all_runs_again_or_nothing_does(server: Server, outside: Outside, head: str, times: int):
    run = await crash_and_finish(server, outside, head)

    assert run["status"] == "completed", run
    assert run["output"] == ["yes", 1]
    assert outside.effects == {"first": times, "second": 1}
    assert run["completed_steps"] == ["first", "second"]
    assert run["skipped_steps"] == ["first"]  # what the wait was reached with


@pytest.mark.slow
@pytest.mark.asyncio
async def test_a_run_that_is_killed_while_it_is_undone_goes_on_with_that(server: Server, outside: Outside):
    async with server.client() as client:
        await call(client, "create_workflow", name="saga", source=SAGA)
        run = await call(client, "run_workflow", name="saga", arguments={"base": outside.url})
        await asyncio.to_thread(outside.wait_for_read, "cancel")
    server.kill()
    outside.open_gate("cancel")
    server.start()
    async with server.client() as client:
        run = await call(client, "get_run", run_id=run["run_id"], wait_seconds=45)

    assert run["status"] == "failed", run
    assert outside.effects == {"book": 1, "cancel": 1}
