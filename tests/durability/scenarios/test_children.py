"""Scenario 25: runs that other runs have started."""

from pathlib import Path

import pytest

from durability.scenarios.staging import Stage, staging
from stepwell.model import Run, RunStatus
from support.workers import Workers

PARENT = """
async def run(ctx, base: str):
    return "got " + await ctx.invoke("kid", base=base)
"""
KID = """
def run(ctx, base: str):
    tools.curl.post(url=base + "/effect/kid", json={})
    tools.fetch(url=base + "/gate/kid")
    return "kid"
"""
SPAWN = {
    "before the call is recorded": ("INSERT ON journal", "NEW.kind = 'child'"),
    "before the child is stored": ("INSERT ON runs", "NEW.parent_id IS NOT NULL"),
    "before its parent waits": ("INSERT ON waits", "NEW.kind = 'child'"),
}


def kids(stage: Stage) -> list[dict[str, object]]:
    return [dict(row) for row in stage.runs() if row["workflow"] == "kid"]


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize("point", SPAWN)
async def test_scenario_25_a_parent_that_dies_around_the_start_of_its_child_has_one(
    tmp_path: Path, workers: Workers, point: str
):
    async with staging(tmp_path, workers) as stage:
        await stage.store("kid", KID)
        stage.open()
        with stage.commits.stuck(*SPAWN[point]):
            run_id = await stage.start(PARENT)
            stage.kill_stuck()
        assert len(kids(stage)) == (point == "before its parent waits")
        stage.outside.open_gate("kid")
        run = await stage.go_on(run_id)
        found = kids(stage)

    assert run.output == "got kid", run.error
    assert [kid["status"] for kid in found] == ["completed"]
    assert stage.outside.effects == {"kid": 1}


@pytest.mark.slow
@pytest.mark.asyncio
async def test_scenario_25_a_child_that_failed_while_its_parent_was_down_is_not_run_again(
    tmp_path: Path, workers: Workers
):
    kid = (
        "def work(base):\n    tools.fetch(url=base + '/r/tried')\n    raise ValueError('no')\n\n"
        "def run(ctx, base: str):\n    ctx.step(work, base)\n"
    )
    parent = (
        "async def run(ctx, base: str):\n    if ctx.attempt > 1:\n        tools.fetch(url=base + '/gate/late')\n"
        "    try:\n        await ctx.invoke('kid', base=base)\n    except Exception as error:\n        return str(error)\n"
    )
    async with staging(tmp_path, workers) as stage:
        await stage.store("kid", kid)
        stage.open()
        with stage.commits.stuck("INSERT ON waits", "NEW.kind = 'child'"):
            run_id = await stage.start(parent)
            stage.kill_stuck()
        stage.open()
        # The child comes to its end before its parent has come to the call again.
        stage.commits.wait_for("SELECT 1 FROM runs WHERE workflow = 'kid' AND status = 'failed'")
        stage.outside.open_gate("late")
        run = await stage.ended(run_id)
        events = [kind for kind, _ in stage.events(str(kids(stage)[0]["id"]))]

    assert run.status is RunStatus.COMPLETED, run.error
    assert "no" in run.output
    assert events.count("run.failed") == 1
    assert "run.reopened" not in events


async def cancel_with_finished_child(stage: Stage) -> Run:
    """A parent with a child that has finished and one that waits, cancelled."""
    await stage.store("kid", KID)
    await stage.store("asker", "async def run(ctx):\n    return await ctx.wait_for_user('?')\n")
    source = (
        "async def run(ctx, base: str):\n    one = await ctx.invoke('kid', base=base)\n"
        "    return [one, await ctx.invoke('asker')]\n"
    )
    stage.outside.open_gate("kid")
    stage.open()
    run = await stage.ended(await stage.start(source))
    assert run.status is RunStatus.WAITING
    return await stage.app.engine.cancel(run.id, "enough")


@pytest.mark.slow
@pytest.mark.asyncio
async def test_scenario_25_the_result_of_a_child_is_there_after_its_parent_was_cancelled(
    tmp_path: Path, workers: Workers
):
    async with staging(tmp_path, workers) as stage:
        run = await cancel_with_finished_child(stage)
        assert run.status is RunStatus.CANCELLED
        states = {row["workflow"]: row["status"] for row in stage.runs()}
        assert states == {"flow": "cancelled", "kid": "completed", "asker": "cancelled"}
        (kid,) = kids(stage)
        read = await stage.app.engine.get(str(kid["id"]))
        assert read.output == "kid"

        # Taken up again after a crash, it uses the finished child and takes the other one up.
        stage.kill()
        await stage.app.engine.resume(run.id, via="test")
        run = await stage.go_on(run.id)
        asks = run.waiting_for[0].context["run_id"]
        stage.commits.wait_for("SELECT 1 FROM waits WHERE run_id = ? AND kind = 'input' AND status = 'open'", asks)
        await stage.app.engine.decide(asks, "answer", value="late", via="test")
        stage.commits.wait_for("SELECT 1 FROM runs WHERE id = ? AND status = 'completed'", run.id)
        run = await stage.ended(run.id)
        found = kids(stage)

    assert run.output == ["kid", "late"], run.error
    assert len(found) == 1
    assert stage.outside.effects == {"kid": 1}


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize("crash", ["none", "before-parent", "before-child"])
async def test_scenario_25_a_cancel_reaches_all_generations_also_over_a_crash(
    tmp_path: Path, workers: Workers, crash: str
):
    async with staging(tmp_path, workers) as stage:
        await stage.store("kid", KID)
        await stage.store("middle", PARENT.replace('"got " + ', ""))
        stage.open()
        run_id = await stage.start(PARENT.replace('"kid"', '"middle"'))
        stage.outside.wait_for_read("kid")
        if crash == "none":
            await stage.app.engine.cancel(run_id, "stop")
        else:
            name = "flow" if crash == "before-parent" else "kid"
            when = f"NEW.status = 'cancelled' AND NEW.workflow = '{name}'"
            with stage.commits.stuck("UPDATE OF status ON runs", when):
                await stage.app.engine.cancel(run_id, "stop")
                stage.kill_stuck()
            stage.open()
        stage.commits.wait_for(
            "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM runs WHERE status NOT IN ('cancelled', 'completed'))"
        )
        states = {row["workflow"]: (row["status"], row["reason"]) for row in stage.runs()}

    assert {status for status, _ in states.values()} == {"cancelled"}
    assert states["flow"][1] == "stop"
    assert stage.outside.effects == {"kid": 1}


@pytest.mark.slow
@pytest.mark.asyncio
async def test_scenario_25_a_parent_that_is_tried_again_does_not_start_finished_children_again(
    tmp_path: Path, workers: Workers
):
    source = (
        "import json\n\ndef last(base):\n"
        "    if json.loads(tools.fetch(url=base + '/r/last'))['count'] == 1:\n        raise ValueError('first time')\n"
        "    return 'last'\n\n"
        "async def run(ctx, base: str):\n"
        "    both = await ctx.parallel(ctx.invoke('kid', base=base), ctx.invoke('kid', base=base))\n"
        "    return [*both, await ctx.step(last, base)]\n"
    )
    async with staging(tmp_path, workers) as stage:
        await stage.store("kid", KID)
        stage.outside.open_gate("kid")
        stage.open()
        run = await stage.ended(await stage.start(source))
        assert run.status is RunStatus.FAILED
        before = kids(stage)
        stage.kill()
        await stage.app.engine.resume(run.id, via="test")
        run = await stage.go_on(run.id)

    assert run.output == ["kid", "kid", "last"], run.error
    assert stage.outside.effects == {"kid": 2}
    assert stage.outside.reads["kid"] == 2
    assert [kid["status"] for kid in before] == ["completed", "completed"]
