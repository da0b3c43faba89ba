"""Scenario 21: a cancel reaches a run wherever it is, soon, and the run can be resumed."""

import asyncio
import os
from pathlib import Path

import pytest

from confined import until
from durability.churn import children, descendants
from stepwell.model import Run, RunStatus
from stepwell_server import Session
from stepwell_server.app import open_app
from support.commits import watching
from support.outside import Outside
from support.server import LOCAL_HTTP, make_home

SOON_S = 60  # far more than it takes, far less than what is cancelled

SPIN = """
def spin(base):
    tools.fetch(url=base + "/gate/begun")
    while not artifacts.exists("go"):
        for _ in range(10**9):
            pass
    return "spun"
"""
ENDLESS = {
    "a loop in a plain body": SPIN + "def run(base):\n    return spin(base)\n",
    "a loop in an async body": SPIN + "async def run(base):\n    return spin(base)\n",
    "a loop in a step": SPIN + "async def run(ctx, base):\n    return await ctx.step(spin, base)\n",
    "a loop in a step with a timeout": SPIN + "def run(ctx, base):\n    return ctx.step(spin, base, timeout=600)\n",
    "a loop beside a wait": SPIN
    + "async def run(ctx, base):\n    return await ctx.parallel(ctx.step(spin, base), ctx.wait_for_event('never'))\n",
    "a loop that catches everything": SPIN
    + "def run(base):\n    while True:\n        try:\n            return spin(base)\n        except BaseException:\n            pass\n",
    "a blocked read": "def run(base):\n    tools.fetch(url=base + '/gate/begun')\n    return tools.fetch(url=base + '/gate/never')\n",
    "an awaiting coroutine": "async def run(ctx, base):\n    await ctx.step(tools.fetch, url=base + '/gate/begun')\n"
    "    return await ctx.step(tools.fetch, url=base + '/gate/never')\n",
}


async def cancelled(session: Session, run: Run) -> Run:
    async with asyncio.timeout(SOON_S):
        run = await session.wait(await session.cancel(run, "enough"))
    assert run.status is RunStatus.CANCELLED
    assert run.error is not None
    assert "enough" in run.error.message
    return run


@pytest.mark.parametrize("source", ENDLESS.values(), ids=ENDLESS.keys())
@pytest.mark.asyncio
async def test_scenario_21_work_without_an_end_is_cancelled(tmp_path: Path, outside: Outside, source: str):
    async with Session(make_home(tmp_path / "home")) as session:
        await session.add_workflow("endless", source)
        run = await session.start("endless", base=outside.url)
        await asyncio.to_thread(outside.wait_for_read, "begun")
        outside.open_gate("begun")
        await cancelled(session, run)


WAITS = {
    "sleep": "await ctx.sleep(3600)",
    "event": "await ctx.wait_for_event('go')",
    "question": "await ctx.wait_for_user('?')",
    "approval": "await ctx.approve('?')",
    "near timer": "await ctx.parallel(ctx.sleep(3600), ctx.step(tools.fetch, url=base + '/gate/never'))",
    "child": "await ctx.invoke('kid', base=base)",
}


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.asyncio
async def test_scenario_21_waits_are_cancelled_and_go_on_when_resumed(tmp_path: Path, outside: Outside, wait: str):
    kid = "async def run(ctx, base):\n    return await ctx.wait_for_event('kid.go')\n"
    async with Session(make_home(tmp_path / "home")) as session:
        await session.add_workflow("kid", kid)
        source = (
            "async def run(ctx, base):\n    await ctx.step(tools.curl.post, url=base + '/effect/before', json={})\n"
            f"    {WAITS[wait]}\n    return 'done'\n"
        )
        await session.add_workflow("waits", source)
        run = await session.start("waits", base=outside.url)
        if wait == "near timer":
            await asyncio.to_thread(outside.wait_for_read, "never")
        else:
            run = await session.wait(run, 2) if wait == "sleep" else await session.wait(run)
        await cancelled(session, run)
        kids = await session.app.engine.list(workflow="kid")
        assert {item.status for item in kids.items} <= {RunStatus.CANCELLED}
        outside.open_gate("never")
        run = await session.app.engine.wait((await session.app.engine.resume(run.id, via="session")).id, 5)
        assert run.status in (RunStatus.WAITING, RunStatus.SLEEPING, RunStatus.RUNNING)
        await session.emit("go")
        await session.emit("kid.go")
        if wait in ("event", "child"):
            run = await session.wait(run, 60)
            assert run.output == "done"
    assert outside.effects == {"before": 1}


@pytest.mark.asyncio
async def test_scenario_21_the_late_answer_of_a_cancelled_call_is_dropped_and_the_call_is_in_doubt(
    tmp_path: Path, outside: Outside
):
    source = "def run(base):\n    return tools.curl.post(url=base + '/hold/pay', json={})\n"
    async with Session(make_home(tmp_path / "home")) as session:
        await session.add_workflow("pay", source)
        run = await session.start("pay", base=outside.url)
        await asyncio.to_thread(outside.wait_for_effect, "pay")
        run = await cancelled(session, run)
        outside.release()
        (entry,) = await session.app.engine.journal(run.id)
        assert (entry.kind, entry.status, entry.value) == ("tool", "in_doubt", None)
        run = await session.resume(run)
        assert run.status is RunStatus.IN_DOUBT
        run = await session.resume(run, "value", value="paid")

    assert run.output == "paid"
    assert outside.effects == {"pay": 1}


@pytest.mark.asyncio
async def test_scenario_21_a_run_is_cancelled_while_it_replays(tmp_path: Path, outside: Outside):
    # The loop has no end once the gate has been read before, that is, on a replay.
    source = """
async def run(ctx):
    await ctx.wait_for_user("?")
    if ctx.attempt > 1:
        ctx.log("replaying")
        while True:
            pass
"""
    async with Session(make_home(tmp_path / "home")) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow")
        run = await session.app.engine.decide(run.id, "answer", value="x", via="session")
        async with asyncio.timeout(60):
            while "replaying" not in [line.text.strip() for line in await session.app.engine.logs(run.id)]:
                await session.app.engine.wait(run.id, 0.1)
        await cancelled(session, run)


@pytest.mark.asyncio
async def test_scenario_21_another_process_cancels_a_run_that_works_and_its_child(tmp_path: Path, outside: Outside):
    home = make_home(tmp_path / "home")
    kid = "def run(base):\n    tools.fetch(url=base + '/gate/kid')\n"
    async with Session(home) as session, open_app(home, execute=False) as other:
        await session.add_workflow("kid", kid)
        await session.add_workflow("parent", "def run(base):\n    workflows.invoke('kid', base=base)\n    return 1\n")
        run = await session.start("parent", base=outside.url)
        await asyncio.to_thread(outside.wait_for_read, "kid")
        async with asyncio.timeout(SOON_S):
            run = await other.engine.cancel(run.id, "enough")
            child = (await other.engine.list(workflow="kid")).items[0]
            while child.status is RunStatus.RUNNING:
                child = await other.engine.wait(child.id, 5)

    assert (run.status, child.status) == (RunStatus.CANCELLED, RunStatus.CANCELLED)


@pytest.mark.slow
@pytest.mark.own_sandbox
@pytest.mark.asyncio
async def test_a_cancel_that_is_taken_back_while_it_is_obeyed_does_not_end_the_run(tmp_path: Path, outside: Outside):
    """As a parent does that was cancelled with its children, and is resumed while they are still ending."""
    home = make_home(tmp_path / "home", LOCAL_HTTP + "[sandbox]\npool = 0\n")
    others = set(descendants(os.getpid()))
    async with Session(home) as session:
        source = "def run(base):\n    tools.fetch(url=base + '/gate/begun')\n    return 1"
        await session.add_workflow("waits", source)
        run = await session.start("waits", base=outside.url)
        await asyncio.to_thread(outside.wait_for_read, "begun")

        (guest,) = [pid for pid in set(descendants(os.getpid())) - others if not children(pid)]

        with watching(home) as store:
            store.change("UPDATE runs SET cancel_reason = 'its parent ended'")
            with store.held():
                await until(
                    lambda: guest not in descendants(os.getpid())
                )  # its holder has killed it, and cannot write that it has ended
                store.change("UPDATE runs SET cancel_reason = NULL")
                store.change("COMMIT")
                store.change("BEGIN")
        await asyncio.to_thread(outside.wait_for_read, "begun", 2)
        outside.open_gate("begun")
        ended = await session.wait(run)
    assert (ended.status, ended.output, ended.attempts) == (RunStatus.COMPLETED, 1, 2)
