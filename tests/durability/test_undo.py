"""SIGKILL of the server while a run is undone: every undo happens once."""

import asyncio
from typing import Any

import pytest

from support.outside import Outside
from support.server import Server, at_rest, call

SAGA = """
import json

async def run(ctx, base: str, fail: bool):
    def book(n):
        return json.loads(tools.curl.post(url=f"{base}/effect/book{n}", json={}))
    def cancel(booked):
        tools.fetch(url=f"{base}/gate/{booked['effect']}")
        tools.curl.post(url=f"{base}/effect/cancel-{booked['effect']}", json={})
    for n in range(3):
        await ctx.step("book", book, n, undo=cancel)
    if fail:
        raise ValueError("no more rooms")
    await ctx.wait_for_user("go on?")
"""
NAMES = ("book2", "book1", "book0")


@pytest.mark.parametrize("fail", [True, False], ids=["failed", "cancelled"])
@pytest.mark.asyncio
async def test_a_server_killed_at_every_undo_undoes_each_step_once(server: Server, outside: Outside, fail: bool):
    asked: list[asyncio.Task[dict[str, Any]]] = []
    async with server.client() as client:
        await call(client, "create_workflow", name="saga", source=SAGA)
        arguments = {"base": outside.url, "fail": fail}
        run = await call(client, "run_workflow", name="saga", arguments=arguments)
        if not fail:
            await at_rest(client, run["run_id"])
            asked.append(asyncio.create_task(call(client, "cancel_run", run_id=run["run_id"], reason="closed")))
        await asyncio.to_thread(outside.wait_for_read, NAMES[0])
        for task in asked:
            task.cancel()
    for done, name in enumerate(NAMES):
        await asyncio.to_thread(outside.wait_for_read, name)
        server.kill()
        before = outside.reads[name]
        server.start()
        await asyncio.to_thread(outside.wait_for_read, name, before + 1)
        assert sum(count for effect, count in outside.effects.items() if effect.startswith("cancel")) == done
        outside.open_gate(name)
        await asyncio.to_thread(outside.wait_for_effect, f"cancel-{name}")
    async with server.client() as client:
        ended = await at_rest(client, run["run_id"])

    assert ended["status"] == ("failed" if fail else "cancelled")
    assert set(outside.effects.values()) == {1}
    assert len(outside.effects) == 6
