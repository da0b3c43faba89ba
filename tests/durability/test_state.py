"""State over crashes, and of one session in several processes: each write happens once, no update is lost."""

import asyncio
from typing import Any

import pytest

from support.outside import Outside
from support.server import Server, at_rest, call

STEADY = '''
"""Count in all three places, with a gate between."""

async def run(ctx, base: str) -> list:
    for n in range(4):
        await ctx.state.update("n", lambda n: n + 1, 0)
        ctx.session.state.set("newest", n)
        total = await ctx.user.state.update("n", lambda n: n + 1, 0)
        tools.fetch(url=f"{base}/gate/{n}")
    return [await ctx.state.get("n"), await ctx.session.state.get("newest"), total]
'''

COUNT = '''
"""Count in the session, many times."""

async def run(ctx, times: int) -> int:
    for _ in range(times):
        last = await ctx.session.state.update("n", lambda n: n + 1, 0)
        ctx.session.state.set("last", ctx.run_id)
    return last
'''


@pytest.mark.slow
@pytest.mark.row("A20")
@pytest.mark.asyncio
async def test_each_write_happens_once_over_kills(server: Server, outside: Outside):
    async with server.client() as client:
        await call(client, "create_workflow", name="steady", source=STEADY)
        run = await call(
            client, "run_workflow", name="steady", arguments={"base": outside.url}, session_id="s", user_id="u"
        )
    for gate in range(4):
        await asyncio.to_thread(outside.wait_for_read, str(gate))
        server.kill()
        outside.open_gate(str(gate))
        server.start()
    async with server.client() as client:
        run = await at_rest(client, run["run_id"])

    assert run["status"] == "completed", run
    assert run["output"] == [4, 3, 4]


@pytest.mark.slow
@pytest.mark.row("A21")
@pytest.mark.asyncio
async def test_runs_of_one_session_in_two_servers_lose_no_update(server: Server):
    other = Server(server.home)
    other.start()
    try:
        async with server.client() as one, other.client() as two:
            await call(one, "create_workflow", name="count", source=COUNT)
            started = [await start(client) for _ in range(3) for client in (one, two)]
            ended = [await at_rest(one, run["run_id"]) for run in started]
            final = await call(one, "invoke_workflow", name="count", arguments={"times": 1}, session_id="s")
    finally:
        other.stop()

    assert {run["status"] for run in ended} == {"completed"}, ended
    assert final["output"] == 6 * 20 + 1
    assert max(run["output"] for run in ended) == 6 * 20


async def start(client: Any) -> dict[str, Any]:
    return await call(client, "run_workflow", name="count", arguments={"times": 20}, session_id="s")
