"""A run that takes its server down each time it is worked on."""

import asyncio

import pytest

from cli.processes import Stepwell
from support.outside import Outside
from support.server import Server, at_rest, call

POISON = "def run(base):\n    return tools.fetch(url=base + '/gate/poison')\n"
DEATHS = 5


@pytest.mark.exhaustive
@pytest.mark.asyncio
async def test_scenario_22_a_run_that_kills_its_server_each_time_is_set_aside(server: Server, outside: Outside):
    async with server.client() as client:
        await call(client, "create_workflow", name="poison", source=POISON)
        await call(client, "create_workflow", name="healthy", source="def run(n):\n    return n\n")
        await call(client, "run_workflow", name="poison", arguments={"base": outside.url}, run_id="p")
    for death in range(1, DEATHS + 1):
        await asyncio.to_thread(outside.wait_for_read, "poison", death)
        if death > 1:
            async with server.client() as client:  # others are worked on meanwhile
                other = await call(client, "invoke_workflow", name="healthy", arguments={"n": death})
                assert other["output"] == death
        server.kill()
        server.start()
    async with server.client() as client:
        run = await at_rest(client, "p")
        assert (run["status"], run["error"]["code"]) == ("dead", "dead")
        assert outside.reads["poison"] == DEATHS
        assert [item["run_id"] for item in (await call(client, "list_runs", status="dead"))["runs"]] == ["p"]
        timeline = (await call(client, "get_run", run_id="p", include=["timeline"]))["timeline"]
        assert [event["type"] for event in timeline].count("lease.lost") == DEATHS

    resumed = await asyncio.to_thread(Stepwell(server.home).here, "resume", "p", "--no-wait")
    assert resumed.code == 0, resumed
    # It has all its chances again.
    await asyncio.to_thread(outside.wait_for_read, "poison", DEATHS + 1)
    server.kill()
    server.start()
    await asyncio.to_thread(outside.wait_for_read, "poison", DEATHS + 2)
    outside.open_gate("poison")
    async with server.client() as client:
        run = await at_rest(client, "p")
        assert run["status"] == "completed"
