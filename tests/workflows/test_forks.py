"""Runs started again as new ones: with the same input, and with the results from before a step."""

import asyncio
import time
from pathlib import Path

import pytest

from cli.processes import Stepwell
from mcp_clients import call, in_memory, refused
from stepwell.errors import Conflict, InvalidArguments, NotFound
from stepwell.model import RunStatus
from stepwell_server import Session
from support.outside import Outside

PIPELINE = '''
"""Load, charge, and publish what a read allows."""
import json

def effect(base, name, token):
    return json.loads(tools.curl.post(url=f"{base}/effect/{name}", json={"token": token}))["effect"]

def check(base, fails):
    seen = json.loads(tools.fetch(url=base + "/read/check"))["count"]
    if seen <= fails:
        raise RuntimeError(f"not yet, asked {seen} times")
    return seen

async def run(ctx, base: str, fails: int = 1) -> dict:
    token = str(ctx.uuid())
    loaded = await ctx.step("load", effect, base, "load", token)
    artifacts.save("report", {"token": token})
    when = ctx.now().isoformat()
    charged = await ctx.step("charge", effect, base, "charge", token + when)
    seen = await ctx.step("check", check, base, fails)
    published = await ctx.step("publish", effect, base, "publish", token)
    return {"seen": seen, "done": [loaded, charged, published], "token": token}
'''


@pytest.mark.row("S41")
@pytest.mark.asyncio
async def test_a_failed_run_is_started_again_as_a_new_one_by_a_client(home: Path, outside: Outside) -> None:
    async with in_memory(home, "auto") as client:
        await call(client, "create_workflow", name="pipeline", source=PIPELINE)
        given = {"base": outside.url, "fails": 1}
        await client.call_tool(
            "invoke_workflow", {"name": "pipeline", "arguments": given, "run_id": "p1", "session_id": "s"}
        )
        again = await call(client, "invoke_workflow", name="pipeline", from_run="p1")

        assert (again["run_id"], again["status"], again["from_run"]) == ("p1-retry-1", "completed", "p1")
        assert again["session_id"] == "s"
        shown = await call(client, "get_run", run_id="p1-retry-1", include=["input"])
        assert shown["input"] == given
        assert (await call(client, "get_run", run_id="p1"))["status"] == "failed"
        assert outside.effects == {"load": 2, "charge": 2, "publish": 1}

        second = await call(client, "run_workflow", name="pipeline", from_run="p1")
        assert second["run_id"] == "p1-retry-2"
        error = await refused(client, "run_workflow", name="pipeline", from_run="p1-retry-1")
        assert (error["code"], "completed" in error["message"]) == ("conflict", True)
        for arguments, said in (
            ({"from_run": "p1", "arguments": {"base": "x"}}, "input is that of the run"),
            ({"from_step": "charge"}, "goes with"),
            ({"from_run": "p1", "from_step": "nothing"}, "no step"),
            ({"from_run": "nothing"}, "no run"),
            ({"from_run": "p1", "run_id": "p1"}, "started otherwise"),
        ):
            assert said in (await refused(client, "run_workflow", name="pipeline", **arguments))["message"]
        await call(client, "create_workflow", name="other", source="def run(): ...")
        assert "not of" in (await refused(client, "run_workflow", name="other", from_run="p1"))["message"]


@pytest.mark.row("S48")
@pytest.mark.asyncio
async def test_a_run_from_a_step_reuses_the_results_from_before_it(home: Path, outside: Outside) -> None:
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("pipeline", PIPELINE)
        failed = await session.run("pipeline", base=outside.url)
        run = await session.start_again(failed, from_step="check")

        assert (run.status, run.id) == (RunStatus.COMPLETED, f"{failed.id}-retry-1")
        assert outside.effects == {"load": 1, "charge": 1, "publish": 1}
        assert run.skipped_steps == ("load", "charge")
        assert (await session.app.engine.artifact(run.id, "report")).name == "report"

        # A completed run too, from any of its steps, as often as wanted; the new run starts from a copy of its own.
        later = await session.start_again(run, from_step="publish")
        assert (later.id, later.output) == (f"{failed.id}-retry-2", run.output)
        assert outside.effects == {"load": 1, "charge": 1, "publish": 2}
        first = await session.start_again(later, from_step="load")
        assert first.status is RunStatus.COMPLETED
        assert outside.effects == {"load": 2, "charge": 2, "publish": 3}
        assert first.output["token"] == run.output["token"]
        events = [event for event in await session.timeline(later) if event.type == "run.forked"]
        assert [event.data["from_run"] for event in events] == [run.id]
        with pytest.raises(InvalidArguments, match="no step") as refused_:
            await session.start_again(failed, from_step="publish")
        assert "load, charge, check" in refused_.value.hint


@pytest.mark.row("S48")
@pytest.mark.asyncio
async def test_edited_code_is_refused_for_steps_and_taken_for_a_new_start(home: Path, outside: Outside) -> None:
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("pipeline", PIPELINE)
        failed = await session.run("pipeline", base=outside.url, fails=99)
        added = await session.add_workflow("pipeline", PIPELINE.replace("seen <= fails", "False"), replace=True)
        with pytest.raises(Conflict, match="was changed since run") as refused_:
            await session.start_again(failed, from_step="check")
        assert f"version='{added.workflow.version.hash[:12]}'" in refused_.value.hint
        run = await session.start_again(failed)
        assert (run.status, run.version) == (RunStatus.COMPLETED, added.workflow.version.hash)
        await session.delete_workflow("pipeline")
        with pytest.raises(NotFound):
            await session.start_again(failed)


BRANCHES = '''
"""Two branches of two steps each."""
import asyncio, json

def effect(base, name):
    return json.loads(tools.curl.post(url=f"{base}/effect/{name}", json={}))["effect"]

def gated(base, name):
    tools.fetch(url=f"{base}/gate/{name}")
    return effect(base, name)

async def run(ctx, base: str) -> list:
    async def left():
        return [await ctx.step("a1", effect, base, "a1"), await ctx.step("a2", gated, base, "a2")]
    async def right():
        return [await ctx.step("b1", gated, base, "b1"), await ctx.step("b2", gated, base, "b2")]
    return await asyncio.gather(left(), right())
'''


@pytest.mark.asyncio
async def test_what_ended_after_the_step_began_is_done_anew(home: Path, outside: Outside) -> None:
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("branches", BRANCHES)
        started = await session.start("branches", base=outside.url)
        await asyncio.to_thread(outside.wait_for_read, "a2")
        outside.open_gate("b1")  # ends while a2 is under way
        await asyncio.to_thread(outside.wait_for_read, "b2")
        outside.open_gate("a2", "b2")
        whole = await session.wait(started)
        assert outside.effects == {"a1": 1, "a2": 1, "b1": 1, "b2": 1}

        run = await session.start_again(whole, from_step="a2")
        assert (run.status, run.output) == (RunStatus.COMPLETED, whole.output)
        assert outside.effects == {"a1": 1, "a2": 2, "b1": 2, "b2": 2}
        run = await session.start_again(whole, from_step="b2")
        assert outside.effects == {"a1": 1, "a2": 3, "b1": 2, "b2": 3}


CONSENT = '''
"""Pay after a person has agreed, twice."""

def pay(base, name):
    tools.curl.post(url=f"{base}/effect/{name}", json={})

async def run(ctx, base: str) -> str:
    await ctx.step("prepare", pay, base, "prepare")
    await ctx.approve("Pay?")
    await ctx.step("first", pay, base, "first")
    await ctx.step("second", pay, base, "second", requires_approval=True)
    return "paid"
'''


@pytest.mark.asyncio
@pytest.mark.parametrize("step", ["first", "second"])
async def test_a_consent_is_for_one_run(home: Path, outside: Outside, step: str) -> None:
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("consent", CONSENT)
        run = await session.run("consent", base=outside.url)
        run = await session.approve(await session.approve(run))
        assert run.status is RunStatus.COMPLETED

        again = await session.start_again(run, from_step=step)
        assert (again.status, [wait.prompt for wait in again.waiting_for]) == (RunStatus.WAITING, ["Pay?"])
        assert outside.effects == {"prepare": 1, "first": 1, "second": 1}


@pytest.mark.asyncio
async def test_a_run_that_goes_on_is_not_started_again(home: Path) -> None:
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("waits", "async def run(ctx):\n    await ctx.wait_for_user('Well?')\n")
        run = await session.run("waits")
        for step in (None, "x"):
            with pytest.raises(Conflict, match="waiting"):
                await session.start_again(run, from_step=step)
        code = await session.run_code("1 / 0")
        assert (await session.start_again(code)).status is RunStatus.FAILED


@pytest.mark.row("S41", "S48")
def test_starting_again_at_the_command_line(home: Path, outside: Outside) -> None:
    stepwell = Stepwell(home)
    stepwell.create("pipeline", PIPELINE)
    assert stepwell.here("run", "pipeline", f"base={outside.url}", "--run-id", "p1").code == 1

    again = stepwell.json("run", "--from", "p1", "--from-step", "check")
    assert (again["run_id"], again["status"]) == ("p1-retry-1", "completed")
    assert outside.effects == {"load": 1, "charge": 1, "publish": 1}
    assert stepwell.json("run", "--from", "p1")["run_id"] == "p1-retry-2"
    for words in (["--from-step", "check"], [], ["--from", "p1", "base=x"]):
        assert stepwell.here("run", *words).code == 2


@pytest.mark.asyncio
async def test_what_a_run_kept_in_its_state_is_kept_anew(home: Path, outside: Outside) -> None:
    source = PIPELINE.replace(
        "    charged = await", '    await ctx.state.set("when", when)\n    charged = await'
    ).replace("    published =", '    assert await ctx.state.get("when") == when\n    published =')
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("pipeline", source)
        failed = await session.run("pipeline", base=outside.url)
        run = await session.start_again(failed, from_step="check")

        assert run.status is RunStatus.COMPLETED, run.error
        assert outside.effects == {"load": 1, "charge": 2, "publish": 1}


@pytest.mark.asyncio
async def test_results_of_undone_steps_are_not_reused(home: Path) -> None:
    source = "async def run(ctx):\n    await ctx.step('book', 1, undo=print)\n    await ctx.step('fails', int, 'x')\n"
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("undone", source)
        failed = await session.run("undone")
        with pytest.raises(Conflict, match="undone"):
            await session.start_again(failed, from_step="fails")
        assert (await session.start_again(failed)).status is RunStatus.FAILED


@pytest.mark.asyncio
async def test_a_run_from_a_step_agrees_with_its_own_workflow(home: Path) -> None:
    source = """
async def run(ctx):
    began = ctx.now().isoformat()
    await ctx.step("first", str, began)
    await ctx.sleep(0, name=began)
    return await ctx.step("last", len, began)
"""
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("dated", source)
        run = await session.start_again(await session.run("dated"), from_step="last")

        assert (await session.compare(run)).difference is None


@pytest.mark.asyncio
async def test_workflows_that_a_run_from_a_step_invokes_have_the_versions_of_the_first(home: Path) -> None:
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("leaf", "def run():\n    return 'leaf 1'\n")
        await session.add_workflow("middle", "def run():\n    return workflows.leaf()\n")
        await session.add_workflow(
            "top",
            "async def run(ctx):\n    await ctx.step('load', int)\n    await ctx.step('last', int)\n"
            "    await ctx.wait_for_user('go on?')\n    return [workflows.middle(), workflows.invoke('leaf')]\n",
        )
        whole = await session.answer(await session.run("top"), "yes")
        await session.add_workflow("leaf", "def run():\n    return 'leaf 2'\n", replace=True)
        again = await session.answer(await session.start_again(whole, from_step="last"), "yes")
        once_more = await session.start_again(again, from_step="last")
        anew = await session.answer(await session.run("top"), "yes")
        # Nothing but the run that still waits needs the first version now.
        await session.delete_workflow("leaf")
        await session.app.engine.collect(time.time() + 1)
        once_more = await session.answer(once_more, "yes")

        assert [run.output for run in (whole, again, once_more)] == [["leaf 1", "leaf 1"]] * 3
        assert anew.output == ["leaf 2", "leaf 2"]
