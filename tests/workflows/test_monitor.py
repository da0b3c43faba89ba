"""What an operator sees of runs, their steps, and the processes that work on them."""

import asyncio
import time
from pathlib import Path

import pytest

from cli.processes import Stepwell
from mcp_clients import call, in_memory
from stepwell_server import Session
from support.outside import Outside

MIXED = '''
"""A step that works, one at the third attempt, one that fails, one inside another."""

def outer(ctx):
    return ctx.step("inner", 1)

async def run(ctx, base: str, fail: bool = True) -> int:
    tries = []
    def shaky():
        tries.append(1)
        if len(tries) < 3:
            raise ValueError(f"try {len(tries)}")
        return "third"
    await ctx.step("works", {"a": 1})
    await ctx.step("shaky", shaky, retries=3, retry_delay=0)
    await ctx.step("hold", tools.fetch, url=base + "/gate/hold")
    if fail:
        await ctx.step("fails", int, "x", retries=1, retry_delay=0)
    return 1
'''


@pytest.mark.row("S38", "S39")
@pytest.mark.asyncio
async def test_runs_are_listed_and_shown_step_by_step(home: Path, outside: Outside) -> None:
    began = time.time()
    async with in_memory(home, "auto") as client:
        await call(client, "create_workflow", name="mixed", source=MIXED)
        await call(client, "create_workflow", name="other", source="def run(): ...")
        await call(client, "run_workflow", name="mixed", arguments={"base": outside.url}, run_id="m1", session_id="s1")
        await call(client, "invoke_workflow", name="other", run_id="o1")
        await asyncio.to_thread(outside.wait_for_read, "hold")

        [item] = (await call(client, "list_runs", status="running"))["runs"]
        assert (item["run_id"], item["workflow"], item["status"]) == ("m1", "mixed", "running")
        assert (item["steps_completed"], item["error"]) == (2, None)
        assert began <= item["created_at"] <= item["updated_at"] <= time.time()
        for wanted in ({"workflow": "mixed"}, {"session_id": "s1"}):
            assert [run["run_id"] for run in (await call(client, "list_runs", **wanted))["runs"]] == ["m1"]
        assert (await call(client, "list_runs", parent_id="m1"))["runs"] == []
        first = await call(client, "list_runs", limit=1)
        assert (first["total"], [run["run_id"] for run in first["runs"]]) == (2, ["o1"])
        rest = await call(client, "list_runs", limit=1, cursor=first["next_cursor"])
        assert [run["run_id"] for run in rest["runs"]] == ["m1"]

        outside.open_gate("hold")
        await call(client, "get_run", run_id="m1", wait_seconds=45)
        [failed] = (await call(client, "list_runs", status="failed"))["runs"]
        assert "invalid literal" in failed["error"]
        assert failed["steps_completed"] == 3
        shown = await call(client, "get_run", run_id="m1", include=["steps"])
        steps = {step["name"]: step for step in shown["steps"]}
        assert list(steps) == ["works", "shaky", "hold", "fails"]
        assert (steps["works"]["status"], steps["works"]["result"], steps["works"]["attempts"]) == (
            "completed",
            {"a": 1},
            1,
        )
        assert (steps["shaky"]["status"], steps["shaky"]["result"], steps["shaky"]["attempts"]) == (
            "completed",
            "third",
            3,
        )
        assert (steps["fails"]["status"], steps["fails"]["attempts"]) == ("failed", 2)
        assert steps["fails"]["error"]["type"] == "ValueError"
        for step in steps.values():
            assert began <= step["started_at"] <= step["finished_at"] <= time.time()
            assert step["seconds"] == pytest.approx(step["finished_at"] - step["started_at"], abs=1e-5)


@pytest.mark.asyncio
async def test_a_step_between_two_attempts_is_shown_as_retrying(home: Path) -> None:
    source = "async def run(ctx):\n    await ctx.step('one', int, 'x', retries=2, retry_delay=600)\n"
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("shaky", source)
        run = await session.run("shaky")
        [step] = await session.app.engine.steps(run.id)

    assert (step.name, step.status, step.attempts) == ("one", "retrying", 1)


@pytest.mark.asyncio
async def test_many_steps_are_read_page_by_page(home: Path) -> None:
    source = "def run(ctx):\n    for n in range(450):\n        ctx.step(f's{n}', n)\n"
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("many", source)
        run = await session.run("many")
        read: list[int] = []
        after = 0
        while page := await session.app.engine.steps(run.id, after=after, limit=100):
            read += [step.result for step in page]
            after = page[-1].seq

    assert read == list(range(450))


@pytest.mark.row("S42")
def test_workers_and_counts_at_the_command_line(home: Path) -> None:
    stepwell = Stepwell(home)
    assert stepwell.json("workers") == {"workers": [], "runs": {}}
    stepwell.create("ask", "async def run(ctx):\n    return await ctx.wait_for_event('go')\n")
    stepwell.json("run", "ask", "--detach", "--run-id", "a1")
    assert stepwell.json("workers")["runs"] == {"pending": 1}
    assert stepwell.here("resume", "a1").code == 3
    assert stepwell.json("emit", "go")["delivered"] == ["a1"]
    stepwell.json("run", "ask", "--detach", "--run-id", "a2")
    stepwell.json("cancel", "a2")

    assert stepwell.json("workers")["runs"] == {"cancelled": 1, "pending": 1}
    assert "cancelled  1" in stepwell.here("workers").out
    shown = stepwell.here("show", "a1", "--steps").out
    assert "steps:" in shown


@pytest.mark.row("S42")
@pytest.mark.asyncio
async def test_the_workers_of_a_home_and_what_they_hold(home: Path, outside: Outside) -> None:
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("hold", "def run(base):\n    tools.fetch(url=base + '/gate/h')\n")
        run = await session.start("hold", base=outside.url)
        await asyncio.to_thread(outside.wait_for_read, "h")
        [worker] = await session.app.engine.workers()

        assert (worker.alive, worker.runs) == (True, 1)
        assert await session.app.engine.counts() == {"running": 1}
        outside.open_gate("h")
        await session.wait(run)
        assert await session.app.engine.counts() == {"completed": 1}
