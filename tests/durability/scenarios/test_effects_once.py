"""Crashes between an effect, its record, and its delivery."""

import json
from pathlib import Path

import pytest

from durability.scenarios.staging import CONFIG, Stage, staging
from stepwell.engine import StartOptions
from stepwell.model import RunStatus
from support.workers import Workers

CHARGE = """
import json
from stepwell import FunctionContext, function

@function
def charge(ctx: FunctionContext, base):
    return json.loads(tools.curl.post(url=base + "/hold/charge", json={"key": ctx.idempotency_key}))["effect"]

async def run(ctx, base: str):
    await ctx.step("before", lambda: 1)
    charged = await ctx.step(charge, base)
    return [charged, ctx.attempt]
"""
RETRIED = CONFIG + '[in_doubt]\n"curl.post" = "retry"\n'


async def lose_charge(stage: Stage, *, answered: bool) -> str:
    """Kill the worker when the charge has happened: with its answer on the way, or there and not committed."""
    stage.open()
    run_id = await stage.start(CHARGE)
    stage.outside.wait_for_effect("charge")
    # The timeline of a call that may be repeated is written a little later.
    stage.commits.wait_for("SELECT 1 FROM events WHERE type = 'call.started' AND data LIKE '%curl.post%'")
    if answered:
        with stage.commits.stuck("INSERT ON journal", "NEW.key LIKE '%curl.post' AND NEW.status = 'ok'"):
            stage.outside.release()
            stage.kill_stuck()
    else:
        stage.kill()
        stage.outside.release()
    lost = stage.journal(run_id).get("charge@1/curl.post")
    assert lost is None or lost["status"] == "open"
    return run_id


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize("answered", [False, True], ids=["on-its-way", "not-committed"])
async def test_scenario_10_an_effect_whose_record_is_lost_is_tried_once_more_with_the_same_key(
    tmp_path: Path, workers: Workers, answered: bool
):
    async with staging(tmp_path, workers, RETRIED) as stage:
        run_id = await lose_charge(stage, answered=answered)
        run = await stage.go_on(run_id)
        events = stage.events(run_id)

    assert run.output == ["charge", 2]
    first, second = (json.loads(body)["key"] for body in stage.outside.bodies)
    assert first == second
    # Who looks sees that it was tried twice.
    assert [data["attempt"] for kind, data in events if kind in ("run.started", "run.resumed")] == [1, 2]
    assert len([data for kind, data in events if kind == "call.started" and data["call"] == "curl.post"]) == 2
    assert [data["step"] for kind, data in events if kind == "step.completed"] == ["before", "charge"]


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize("answered", [False, True], ids=["on-its-way", "not-committed"])
async def test_scenario_10_an_effect_that_may_not_be_repeated_is_in_doubt(
    tmp_path: Path, workers: Workers, answered: bool
):
    async with staging(tmp_path, workers) as stage:
        run_id = await lose_charge(stage, answered=answered)
        run = await stage.go_on(run_id)
        assert run.status is RunStatus.IN_DOUBT
        stage.kill()  # also while it is in doubt
        stage.open()
        await stage.app.engine.resume(run_id, "value", value='{"effect": "seen"}', via="test")
        run = await stage.ended(run_id)

    assert run.output[0] == "seen", run.error
    assert stage.outside.effects == {"charge": 1}


@pytest.mark.slow
@pytest.mark.asyncio
async def test_scenario_10_a_crash_before_the_intent_is_on_disk_makes_no_effect(tmp_path: Path, workers: Workers):
    async with staging(tmp_path, workers) as stage:
        stage.open()
        with stage.commits.stuck("INSERT ON journal", "NEW.key LIKE '%curl.post'"):
            run_id = await stage.start(CHARGE)
            stage.kill_stuck()
        assert stage.outside.effects == {}
        stage.outside.release()
        run = await stage.go_on(run_id)

    assert run.output == ["charge", 2]
    assert stage.outside.effects == {"charge": 1}


DELIVERED = {
    "step": "charged = await ctx.step(charge, base)",
    "call": "charged = json.loads(tools.curl.post(url=base + '/hold/charge', json={'key': 1}))['effect']",
    "beside": "charged, _ = await ctx.parallel(ctx.step(charge, base), ctx.sleep(0))",
}


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize("form", DELIVERED)
async def test_scenario_11_a_result_that_is_recorded_and_not_delivered_is_used_again(
    tmp_path: Path, workers: Workers, form: str
):
    source = CHARGE.replace("charged = await ctx.step(charge, base)", DELIVERED[form])
    async with staging(tmp_path, workers) as stage:
        stage.open()
        run_id = await stage.start(source)
        stage.outside.wait_for_effect("charge")
        stage.stop_guests()
        stage.outside.release()
        stage.commits.wait_for("SELECT 1 FROM journal WHERE key LIKE '%curl.post' AND status = 'ok'")
        stage.kill()
        recorded = {key: row for key, row in stage.journal(run_id).items() if key.endswith("curl.post")}
        assert [row["delivery"] for row in recorded.values()] == [None]
        run = await stage.go_on(run_id)
        again = stage.journal(run_id)

    assert run.output == ["charge", 2], run.error
    assert stage.outside.effects == {"charge": 1}
    for key, row in recorded.items():
        assert again[key] | {"delivery": None} == row


NAP = """
async def run(ctx, base: str):
    first = workflows.invoke("kid")
    await ctx.sleep(NAP, name="nap")
    return ["OLD", first, workflows.invoke("kid")]
"""


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["replaced", "deleted"])
async def test_scenario_09_a_run_that_sleeps_keeps_its_code_while_the_workflow_is_changed(
    tmp_path: Path, workers: Workers, how: str
):
    async with staging(tmp_path, workers) as stage:
        await stage.store("kid", "def run():\n    return 'old kid'\n")
        stage.open()
        run_id = await stage.start(NAP.replace("NAP", "3"))
        stage.commits.wait_for("SELECT 1 FROM runs WHERE id = ? AND status = 'sleeping'", run_id)
        stage.kill()
        if how == "replaced":
            await stage.store("flow", NAP.replace("NAP", "0").replace("OLD", "NEW"), replace=True)
            await stage.store("kid", "def run():\n    return 'new kid'\n", replace=True)
        else:
            await stage.app.catalog.delete("flow")
            await stage.app.catalog.delete("kid")
        run = await stage.go_on(run_id)
        assert run.output == ["OLD", "old kid", "old kid"], run.error
        if how == "replaced":
            run = await stage.ended(await stage.start(""))
            assert run.output == ["NEW", "new kid", "new kid"]


@pytest.mark.slow
@pytest.mark.asyncio
async def test_scenario_also_a_start_that_is_sent_again_is_one_run(tmp_path: Path, workers: Workers):
    source = "def run(base: str):\n    tools.curl.post(url=base + '/effect/once', json={})\n    return 'done'\n"
    options = StartOptions(idempotency_key="start-1")
    async with staging(tmp_path, workers) as stage:
        # The answer to the first start is lost with the worker that took it up.
        first = await stage.start(source, options=options)
        stage.open()
        stage.commits.wait_for("SELECT 1 FROM runs WHERE status != 'pending'")
        stage.kill()
        again = [await stage.start(source, options=options) for _ in range(3)]
        run = await stage.go_on(first)
        late = await stage.start(source, options=options)
        found = stage.runs()

    assert run.status in (RunStatus.COMPLETED, RunStatus.IN_DOUBT)
    assert {first, late, *again} == {row["id"] for row in found}
    assert stage.outside.effects["once"] <= 1
