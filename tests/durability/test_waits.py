"""What waits survives the server."""

import asyncio

import pytest

from support.outside import Outside
from support.server import Server, at_rest, call

ORDER = '''
"""Validate, charge, ask, confirm."""

def charge(base, amount):
    return tools.curl.post(url=base + "/effect/charge", json={"amount": amount})

async def run(ctx, base: str, amount: int) -> dict:
    await ctx.step("validate", lambda: amount > 0)
    await ctx.step(charge, base, amount)
    await ctx.step("approve", requires_approval=True)({"amount": amount})
    await ctx.step("confirm", tools.curl.post, url=base + "/effect/confirm", json={})
    return {"status": "confirmed"}
'''


@pytest.mark.slow
@pytest.mark.row("N10", "N11", "N19", "A38", "S18")
@pytest.mark.asyncio
async def test_an_approval_is_given_after_the_server_was_killed_and_started_again(server: Server, outside: Outside):
    async with server.client() as client:
        await call(client, "create_workflow", name="order", source=ORDER)
        arguments = {"base": outside.url, "amount": 5}
        run = await call(client, "invoke_workflow", name="order", arguments=arguments)
        assert run["status"] == "waiting"
    server.kill()
    server.start()
    async with server.client() as client:
        run = await call(client, "get_run", run_id=run["run_id"])
        (gate,) = run["waiting_for"]
        given = await call(
            client, "approve_run", run_id=run["run_id"], decision="approve", key=gate["key"], digest=gate["digest"]
        )
        assert "error" not in given or given["error"] is None
        run = await at_rest(client, run["run_id"])

    assert (run["status"], run["output"]) == ("completed", {"status": "confirmed"})
    assert outside.effects == {"charge": 1, "confirm": 1}
    assert run["skipped_steps"] == ["validate", "charge"]


@pytest.mark.slow
@pytest.mark.row("A19")
@pytest.mark.asyncio
async def test_a_timer_goes_on_over_a_kill(server: Server):
    source = (
        "async def run(ctx):\n    began = ctx.now()\n    await ctx.sleep(10)\n    return (ctx.now() - began).seconds\n"
    )
    async with server.client() as client:
        await call(client, "create_workflow", name="nap", source=source)
        run = await call(client, "run_workflow", name="nap")
        asleep = await call(client, "get_run", run_id=run["run_id"], wait_seconds=1)
        # On a busy machine it is not parked any more when the timer is about to fire.
        assert asleep["status"] != "sleeping" or "do not poll" in asleep["next"]
    server.kill()
    server.start()
    async with server.client() as client:
        run = await at_rest(client, run["run_id"])

    assert run["status"] == "completed"
    assert run["output"] >= 3


@pytest.mark.slow
@pytest.mark.asyncio
async def test_a_parent_and_its_child_survive_a_kill_without_running_twice(server: Server, outside: Outside):
    child = (
        "def run(base):\n    tools.curl.post(url=base + '/effect/child', json={})\n"
        "    tools.fetch(url=base + '/gate/g')\n    return 'child'\n"
    )
    parent = "def run(base):\n    got = workflows.invoke('child', base=base)\n    return 'parent of ' + got\n"
    async with server.client() as client:
        await call(client, "create_workflow", name="child", source=child)
        await call(client, "create_workflow", name="parent", source=parent)
        run = await call(client, "run_workflow", name="parent", arguments={"base": outside.url})
    outside.wait_for_read("g")
    server.kill()
    outside.open_gate("g")
    server.start()
    async with server.client() as client:
        run = await at_rest(client, run["run_id"])
        runs = await call(client, "list_runs", workflow="child")

    assert run["output"] == "parent of child"
    assert outside.effects == {"child": 1}
    assert len(runs["runs"]) == 1


@pytest.mark.slow
@pytest.mark.asyncio
async def test_the_next_attempt_of_a_failed_run_survives_a_kill(server: Server, outside: Outside):
    source = (
        "import json\noptions = dict(retries=1, retry_delay=10)\n"
        "def run(base):\n    tools.curl.post(url=base + '/effect/first', json={})\n"
        "    if json.loads(tools.fetch(url=base + '/read/a'))['count'] == 1:\n        raise ValueError('not yet')\n"
        "    return 'second'\n"
    )
    async with server.client() as client:
        await call(client, "create_workflow", name="again", source=source)
        run = await call(client, "run_workflow", name="again", arguments={"base": outside.url})
        failed = run
        async with asyncio.timeout(60):
            while not failed.get("failures"):
                failed = await call(client, "get_run", run_id=run["run_id"], wait_seconds=1)
        assert failed["status"] != "sleeping" or "ValueError: not yet" in failed["waiting_for"][0]["prompt"]
    server.kill()
    server.start()
    async with server.client() as client:
        run = await at_rest(client, run["run_id"])

    # The read is in the journal: code that fails by what it has read fails again.
    assert (run["status"], run["failures"], outside.effects) == ("dead", 2, {"first": 1})
