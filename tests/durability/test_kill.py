"""SIGKILL of the server at every point between two effects: each effect happens once, the result is right."""

import signal
from collections import Counter
from typing import Any

import pytest

from support.outside import Outside
from support.server import Server, at_rest, call

EFFECTS = 5

SYNC = '''
"""Five effects with a gate before and after each."""
import json

def run(base: str) -> list:
    done = []
    tools.fetch(url=base + "/gate/0")
    for n in range(1, 6):
        answer = tools.curl.post(url=f"{base}/effect/e{n}", json={"n": n})
        done.append(json.loads(answer)["effect"])
        tools.fetch(url=f"{base}/gate/{n}")
    return done
'''

STEPS = '''
"""The same with steps, in async code."""
import json

def effect(base, n):
    return json.loads(tools.curl.post(url=f"{base}/effect/e{n}", json={"n": n}))["effect"]

async def run(ctx, base: str) -> list:
    done = []
    await ctx.step(tools.fetch, url=base + "/gate/0")
    for n in range(1, 6):
        done.append(await ctx.step("effect", effect, base, n))
        await ctx.step(tools.fetch, url=f"{base}/gate/{n}")
    return done
'''


async def start(server: Server, source: str, base: str) -> str:
    async with server.client() as client:
        created = await call(client, "create_workflow", name="five", source=source)
        assert "error" not in created, created
        run = await call(client, "run_workflow", name="five", arguments={"base": base})
    return run["run_id"]


async def finish(server: Server, run_id: str) -> dict[str, Any]:
    async with server.client() as client:
        return await at_rest(client, run_id)


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize(
    "source", [pytest.param(SYNC, id="calls"), pytest.param(STEPS, id="steps", marks=pytest.mark.exhaustive)]
)
@pytest.mark.parametrize("gate", range(EFFECTS + 1))
async def test_a_kill_between_two_effects_repeats_none(server: Server, outside: Outside, source: str, gate: int):
    run_id = await start(server, source, outside.url)
    outside.open_gate(*(str(n) for n in range(gate)))
    outside.wait_for_read(str(gate))

    server.kill()
    outside.open_gate(*(str(n) for n in range(EFFECTS + 1)))
    server.start()
    run = await finish(server, run_id)

    assert run["status"] == "completed", run
    assert run["output"] == [f"e{n}" for n in range(1, EFFECTS + 1)]
    assert outside.effects == {f"e{n}": 1 for n in range(1, EFFECTS + 1)}


@pytest.mark.slow
@pytest.mark.row("A9", "A38", "N6", "N19")
@pytest.mark.asyncio
async def test_a_kill_at_every_gate_of_one_run_repeats_none(server: Server, outside: Outside):
    run_id = await start(server, STEPS, outside.url)
    for gate in range(EFFECTS + 1):
        outside.wait_for_read(str(gate))
        server.kill()
        outside.open_gate(str(gate))
        server.start()
    run = await finish(server, run_id)

    assert run["status"] == "completed", run
    assert outside.effects == {f"e{n}": 1 for n in range(1, EFFECTS + 1)}
    assert "effect" in run["skipped_steps"]


@pytest.mark.slow
@pytest.mark.asyncio
async def test_a_clean_stop_hands_the_run_over(server: Server, outside: Outside):
    run_id = await start(server, SYNC, outside.url)
    outside.open_gate("0", "1")
    outside.wait_for_read("2")

    assert server.stop() == 0
    outside.open_gate(*(str(n) for n in range(EFFECTS + 1)))
    server.start()
    run = await finish(server, run_id)

    assert run["status"] == "completed", run
    assert outside.effects == {f"e{n}": 1 for n in range(1, EFFECTS + 1)}


@pytest.mark.slow
@pytest.mark.asyncio
async def test_another_server_takes_over_from_a_killed_one(server: Server, outside: Outside):
    other = Server(server.home)
    other.start()
    try:
        run_id = await start(server, SYNC, outside.url)
        outside.open_gate("0", "1", "2")
        outside.wait_for_read("3")

        server.kill()
        outside.open_gate(*(str(n) for n in range(EFFECTS + 1)))
        run = await finish(other, run_id)
    finally:
        other.stop()

    assert run["status"] == "completed", run
    assert outside.effects == {f"e{n}": 1 for n in range(1, EFFECTS + 1)}


@pytest.mark.slow
@pytest.mark.asyncio
async def test_a_stopped_server_loses_the_run_and_cannot_write_when_it_wakes(server: Server, outside: Outside):
    other = Server(server.home)
    other.start()
    try:
        run_id = await start(server, SYNC, outside.url)
        outside.open_gate("0", "1")
        outside.wait_for_read("2")

        server.signal(signal.SIGSTOP)
        outside.wait_for_read("2", times=2)  # the other has the run now and asks again
        server.signal(signal.SIGCONT)
        outside.open_gate(*(str(n) for n in range(EFFECTS + 1)))
        run = await finish(other, run_id)
    finally:
        other.stop()

    assert run["status"] == "completed", run
    assert run["output"] == [f"e{n}" for n in range(1, EFFECTS + 1)]
    assert outside.effects == {f"e{n}": 1 for n in range(1, EFFECTS + 1)}


BATCH = '''
"""Five effects of a batch, one after the other, with a gate after each."""
import json

def effect(base, n):
    answer = json.loads(tools.curl.post(url=f"{base}/effect/e{n}", json={"n": n}))["effect"]
    tools.fetch(url=f"{base}/gate/{n}")
    return answer

async def run(ctx, base: str) -> dict:
    items = [{"base": base, "n": n} for n in range(6)]
    result = await ctx.batch(effect, items, max_concurrency=2)
    return {"outputs": result.outputs, "status": result.status}
'''


@pytest.mark.slow
@pytest.mark.row("A15")
@pytest.mark.asyncio
async def test_a_batch_that_is_killed_again_and_again_repeats_no_effect(server: Server, outside: Outside):
    run_id = await start(server, BATCH, outside.url)
    seen: Counter[int] = Counter()
    for under_way, gate in (((0, 1), 1), ((0, 2), 0), ((2, 3), 3)):
        for n in under_way:  # no effect is on its way, which would be in doubt
            seen[n] += 1
            outside.wait_for_read(str(n), seen[n])
        server.kill()
        outside.open_gate(str(gate))
        server.start()
    outside.open_gate(*(str(n) for n in range(6)))
    run = await finish(server, run_id)

    assert run["status"] == "completed", run
    assert run["output"] == {"outputs": [f"e{n}" for n in range(6)], "status": "completed"}
    assert outside.effects == {f"e{n}": 1 for n in range(6)}


PIPELINE = '''
"""Three decorated functions with a gate in each."""
import json
from stepwell import Workflow

wf = Workflow("three")

def effect(base, n):
    answer = json.loads(tools.curl.post(url=f"{base}/effect/e{n}", json={"n": n}))["effect"]
    tools.fetch(url=f"{base}/gate/{n}")
    return answer

@wf.step("first", retries=1)
def first(base: str) -> dict:
    return {"base": base, "done": [effect(base, 1)]}

@wf.step("second")
def second(earlier: dict) -> dict:
    return {**earlier, "done": [*earlier["done"], effect(earlier["base"], 2)]}

@wf.step("third")
async def third(earlier: dict) -> list:
    return [*earlier["done"], effect(earlier["base"], 3)]
'''


@pytest.mark.slow
@pytest.mark.row("S15")
@pytest.mark.asyncio
async def test_a_pipeline_that_is_killed_in_every_step_goes_on_with_what_is_left(server: Server, outside: Outside):
    run_id = await start(server, PIPELINE, outside.url)
    for gate in (1, 2, 3):
        outside.wait_for_read(str(gate))
        server.kill()
        outside.open_gate(str(gate))
        server.start()
    run = await finish(server, run_id)

    assert run["status"] == "completed", run
    assert run["output"] == ["e1", "e2", "e3"]
    assert run["skipped_steps"] == ["first", "second"]
    assert outside.effects == {"e1": 1, "e2": 1, "e3": 1}


LOOP = '''
"""Three passes, each with an effect and a gate."""
import json
from stepwell import Loop, Parallel, Step, Workflow

def effect(given):
    answer = json.loads(tools.curl.post(url=given.input + "/effect/e", json={}))
    given.session_state["passes"] = answer["count"]
    return answer["count"]

def gate(given):
    return json.loads(tools.fetch(url=f"{given.input}/gate/{given.session_state['passes']}"))["read"]

flow = Workflow("passes", steps=[Loop("pass", [Step("effect", executor=effect), Parallel(
    Step("gate", executor=gate), Step("other", executor=lambda given: given.session_state["passes"]), name="both")],
    end_condition=lambda outputs: "gate]: 3" in outputs[-1].content)])
'''


@pytest.mark.slow
@pytest.mark.row("D29")
@pytest.mark.asyncio
async def test_a_kill_in_the_second_pass_of_a_loop_repeats_none(server: Server, outside: Outside):
    async with server.client() as client:
        await call(client, "create_workflow", name="passes", source=LOOP)
        run = await call(client, "run_workflow", name="passes", arguments={"input": outside.url})
    outside.open_gate("1")
    outside.wait_for_read("2")

    server.kill()
    outside.open_gate("2", "3")
    server.start()
    done = await finish(server, run["run_id"])

    assert done["output"] == "[gate]: 3\n\n[other]: 3", done
    assert outside.effects == {"e": 3}
    assert {"effect", "gate", "other"} <= set(done["skipped_steps"])
    assert done["step_results"]["session_state"] == {"passes": 3}
