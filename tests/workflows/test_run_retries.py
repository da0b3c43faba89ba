"""Runs that fail, are tried again by themselves, and are set aside when that does not help."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cli.processes import Stepwell
from mcp_clients import call, in_memory
from stepwell.errors import Conflict, InvalidSource
from stepwell.model import RunStatus
from stepwell_server import Session
from support.outside import Outside

FLAKY = '''
"""Charge, then confirm, which fails some times."""
import json

options = dict(OPTIONS)

def charge(base):
    return tools.curl.post(url=base + "/effect/charge", json={})

def confirm(base, fails):
    seen = json.loads(tools.fetch(url=base + "/read/confirm"))["count"]
    if seen <= fails:
        raise RuntimeError(f"not yet, asked {seen} times")
    return seen

async def run(ctx, base: str, fails: int) -> int:
    await ctx.step(charge, base)
    return await ctx.step(confirm, base, fails)
'''


def flaky(options: str = "retries=3, retry_delay=0") -> str:
    return FLAKY.replace("OPTIONS", options)


async def run_flaky(home: Path, outside: Outside, options: str, fails: int) -> Any:
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flaky", flaky(options))
        run = await session.run("flaky", base=outside.url, fails=fails)
        return run, [event.type for event in await session.timeline(run)]


@pytest.mark.asyncio
async def test_a_run_that_fails_goes_on_from_its_journal_until_it_completes(home: Path, outside: Outside) -> None:
    run, events = await run_flaky(home, outside, "retries=3, retry_delay=0", 2)

    assert (run.status, run.output, run.failures) == (RunStatus.COMPLETED, 3, 2)
    assert outside.effects == {"charge": 1}
    assert outside.reads["confirm"] == 3
    assert events.count("run.retrying") == 2
    assert [kind for kind in events if kind.startswith("run.")] == [
        "run.created", "run.started", "run.retrying", "run.resumed", "run.retrying", "run.resumed", "run.completed",
    ]  # fmt: skip


@pytest.mark.asyncio
async def test_a_run_without_retries_ends_as_failed(home: Path, outside: Outside) -> None:
    run, events = await run_flaky(home, outside, "timeout=60", 2)

    assert (run.status, outside.reads["confirm"]) == (RunStatus.FAILED, 1)
    assert events[-1] == "run.failed"


@pytest.mark.row("S43", "S44", "S45")
@pytest.mark.asyncio
async def test_exhausted_runs_are_listed_shown_tried_again_and_put_away_by_a_client(
    home: Path, outside: Outside
) -> None:
    async with in_memory(home, "auto") as client:
        await call(client, "create_workflow", name="flaky", source=flaky("retries=1, retry_delay=0"))
        arguments = {"base": outside.url, "fails": 2}
        result = await client.call_tool(
            "invoke_workflow", {"name": "flaky", "arguments": arguments, "run_id": "mended"}
        )
        assert result.is_error
        await client.call_tool(
            "invoke_workflow", {"name": "flaky", "arguments": arguments | {"fails": 99}, "run_id": "lost"}
        )

        listed = await call(client, "list_runs", status="dead")
        assert {item["run_id"] for item in listed["runs"]} == {"mended", "lost"}
        entry = await call(client, "get_run", run_id="mended")
        assert entry["status"] == "dead"
        assert entry["input"] == arguments
        assert entry["error"] | {"line": 0} == {
            "type": "RuntimeError", "message": "not yet, asked 2 times", "step": "confirm", "attempt": 2,
            "code": "workflow_error", "line": 0,
        }  # fmt: skip
        assert entry["failures"] == 2
        assert "discard" in entry["next"]
        timeline = (await call(client, "get_run", run_id="mended", include=["timeline"]))["timeline"]
        assert [event["type"] for event in timeline if event["type"] in ("run.retrying", "run.dead")] == [
            "run.retrying", "run.dead",
        ]  # fmt: skip

        mended = await call(client, "resume_run", run_id="mended")
        assert mended["status"] in ("pending", "running", "completed", "sleeping")
        mended = await call(client, "get_run", run_id="mended", wait_seconds=45)
        assert mended["status"] == "completed"
        assert outside.effects == {"charge": 2}  # one for each run

        discarded = await call(client, "resume_run", run_id="lost", decision="discard")
        assert discarded["status"] == "cancelled"
        assert (await call(client, "list_runs", status="dead"))["runs"] == []


@pytest.mark.row("S43", "S44", "S45")
def test_exhausted_runs_at_the_command_line(home: Path, outside: Outside) -> None:
    stepwell = Stepwell(home)
    stepwell.create("flaky", flaky("retries=1, retry_delay=0"))
    words = ("run", "flaky", f"base={outside.url}", "fails=2", "--output", "json")
    assert stepwell.here(*words, "--run-id", "d1").code == 1

    [entry] = stepwell.json("runs", "--status", "dead")["runs"]
    assert (entry["run_id"], entry["workflow"]) == ("d1", "flaky")
    assert entry["error"]["message"] == "not yet, asked 2 times"
    shown = stepwell.json("show", "d1", "--timeline")
    assert shown["input"] == {"base": outside.url, "fails": 2}
    assert "set aside as dead" in stepwell.here("show", "d1", "--timeline").out

    assert stepwell.json("resume", "d1")["status"] == "completed"
    assert stepwell.here(*words[:-3], "fails=99", "--run-id", "d2").code == 1
    assert stepwell.json("discard", "d2")["status"] == "cancelled"
    assert stepwell.json("runs", "--status", "dead")["runs"] == []
    refused = stepwell.here("discard", "d1")
    assert (refused.code, "completed" in refused.err) == (2, True)


@pytest.mark.asyncio
async def test_resume_of_a_dead_run_gives_it_all_its_attempts_again(home: Path, outside: Outside) -> None:
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flaky", flaky("retries=1, retry_delay=0"))
        run = await session.run("flaky", base=outside.url, fails=99)
        assert (run.status, run.failures) == (RunStatus.DEAD, 2)
        again = await session.resume(run)
        assert (again.status, again.failures) == (RunStatus.DEAD, 2)
        assert outside.reads["confirm"] == 4
        discarded = await session.resume(run, "discard")
        assert discarded.error is not None
        with pytest.raises(Conflict, match="discarded"):
            await session.resume(run, "discard")


@pytest.mark.asyncio
async def test_a_run_that_waits_for_its_next_attempt_has_no_process_and_can_be_cancelled(
    home: Path, outside: Outside
) -> None:
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flaky", flaky("retries=3, retry_delay=600"))
        run = await session.run("flaky", base=outside.url, fails=1)
        assert run.status is RunStatus.SLEEPING
        [wait] = run.waiting_for
        assert (wait.kind, "not yet" in wait.prompt) == ("timer", True)
        assert wait.until is not None
        assert run.error is not None
        assert run.error.message == "not yet, asked 1 times"
        cancelled = await session.cancel(run)
        assert cancelled.status is RunStatus.CANCELLED


@pytest.mark.asyncio
async def test_a_delay_grows_as_the_module_says(home: Path, outside: Outside) -> None:
    async with asyncio.timeout(60), Session(home) as session:
        options = "retries=9, retry_delay=0.01, backoff='exponential', max_delay=0.03"
        await session.add_workflow("flaky", flaky(options))
        run = await session.run("flaky", base=outside.url, fails=3)
        events = [event for event in await session.timeline(run) if event.type == "run.retrying"]
        delays = [round(event.data["wake_at"] - event.at, 2) for event in events]

        assert run.status is RunStatus.COMPLETED
        assert delays == [0.01, 0.02, 0.03]


NOT_AGAIN = {
    "rejected": "await ctx.approve('Go on?')",
    "terminated": "ctx.terminate('enough')",
}


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["rejected", "terminated"])
async def test_what_another_attempt_cannot_change_is_not_tried_again(home: Path, kind: str) -> None:
    source = f'"""End."""\noptions = dict(retries=3, retry_delay=0)\n\nasync def run(ctx):\n    {NOT_AGAIN[kind]}\n'
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("ends", source)
        run = await session.run("ends")
        if kind == "rejected":
            run = await session.reject(run, "no")

        assert run.status == kind
        assert "run.retrying" not in [event.type for event in await session.timeline(run)]


@pytest.mark.asyncio
async def test_a_limit_is_not_tried_again(home: Path) -> None:
    source = '"""Spin."""\noptions = dict(retries=3, retry_delay=0, timeout=0.3)\n\ndef run():\n    while True:\n        pass\n'
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("spins", source)
        run = await session.run("spins")

        assert (run.status, run.failures) == (RunStatus.FAILED, 1)
        assert run.error is not None
        assert run.error.code == "limit_exceeded"


PARENT = '''
"""Invoke a flaky child beside a sleep."""

async def run(ctx, base: str, fails: int) -> int:
    return workflows.invoke("flaky", base=base, fails=fails)
'''


@pytest.mark.asyncio
async def test_a_child_that_is_tried_again_is_live_for_its_parent(home: Path, outside: Outside) -> None:
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flaky", flaky("retries=2, retry_delay=2.5"))
        await session.add_workflow("parent", PARENT)
        parent = await session.start("parent", base=outside.url, fails=1)
        run = await session.wait(parent, 60)

        assert (run.status, run.output) == (RunStatus.COMPLETED, 2)
        assert outside.effects == {"charge": 1}


@pytest.mark.asyncio
async def test_a_parent_that_is_tried_again_takes_its_dead_child_up(home: Path, outside: Outside) -> None:
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flaky", flaky("retries=1, retry_delay=0"))
        await session.add_workflow(
            "parent", PARENT.replace("async", "options = dict(retries=1, retry_delay=0)\n\nasync")
        )
        run = await session.run("parent", base=outside.url, fails=3)

        assert (run.status, run.output) == (RunStatus.COMPLETED, 4)
        assert outside.effects == {"charge": 1}
        assert (await session.app.engine.list(workflow="flaky")).total == 1


SIBLING = '''
"""One branch fails while the other goes on in a child."""
import json

options = dict(retries=2, retry_delay=0)

def shaky(base):
    if json.loads(tools.fetch(url=base + "/read/shaky"))["count"] == 1:
        raise RuntimeError("not yet")
    return "shaky"

async def run(ctx, base: str) -> list:
    async def child():
        return await ctx.invoke("slow", base=base)
    return await ctx.parallel(child(), ctx.step(shaky, base))
'''
SLOW = '''
"""One effect behind a gate."""

def run(base: str) -> str:
    tools.fetch(url=base + "/gate/slow")
    tools.curl.post(url=base + "/effect/slow", json={})
    return "slow"
'''


@pytest.mark.asyncio
async def test_a_sibling_child_goes_on_while_its_parent_is_tried_again(home: Path, outside: Outside) -> None:
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("slow", SLOW)
        await session.add_workflow("parent", SIBLING)
        parent = await session.start("parent", base=outside.url)
        await asyncio.to_thread(outside.wait_for_read, "shaky", 2)
        outside.open_gate("slow")
        run = await session.wait(parent)

        assert (run.status, run.output) == (RunStatus.COMPLETED, ["slow", "shaky"])
        assert outside.effects == {"slow": 1}
        assert [run.attempts for run in (await session.app.engine.list(workflow="slow")).items] == [1]


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("retries=-1", "retries is a whole number of at least 0, not -1"),
        ("retries='three'", "retries is a whole number"),
        ("retries=1000", "retries is at most 100"),
        ("retry_delay='1s'", "retry_delay is a number from 0 to "),
        ("retry_delay=1e9", "retry_delay is at most 2592000 seconds"),
        ("backoff='quadratic'", "backoff is a number"),
        ("backoff=1e6", "backoff is a number from 0 to 1000"),
        ("max_delay=-5", "max_delay is a number from 0 to "),
    ],
)
async def test_options_that_cannot_be_are_refused_at_create(home: Path, options: str, said: str) -> None:
    async with Session(home) as session:
        with pytest.raises(InvalidSource, match=said) as refused:
            await session.add_workflow("flaky", flaky(options))
        assert refused.value.line == 4
        assert await session.list_workflows() == []
