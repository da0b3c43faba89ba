"""Several processes on one home: take-overs, starts at the same time, and processes that come back."""

import asyncio
import signal
from pathlib import Path

import pytest

from durability.scenarios.staging import Stage, staging
from stepwell.model import RunStatus
from support.outside import Outside
from support.server import Server, at_rest, call, make_home
from support.workers import Worker, Workers

PAY = """
import json

async def run(ctx, base: str):
    await ctx.step("before", lambda: 1)
    tools.fetch(url=base + "/gate/first")
    paid = json.loads(tools.curl.post(url=base + "/hold/pay", json={}))
    await ctx.step("after", tools.fetch, url=base + "/gate/after")
    return paid["effect"]
"""


def end_lease(stage: Stage, worker: Worker) -> None:
    """Let the lease of a stopped worker have run out."""
    stage.commits.change("UPDATE workers SET lease_until = 0 WHERE pid = ?", worker.pid)


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize("point", ["read", "effect", "answer"])
async def test_scenario_12_a_process_that_comes_back_after_its_lease_writes_nothing(
    tmp_path: Path, workers: Workers, point: str
):
    async with staging(tmp_path, workers) as stage:
        zombie = stage.open()
        run_id = await stage.start(PAY)
        if point == "read":
            stage.outside.wait_for_read("first")
        else:
            stage.outside.open_gate("first")
            stage.outside.wait_for_effect("pay")
        stage.stop(zombie)
        guests = stage.guests(zombie)
        if point == "answer":
            stage.outside.release()  # it is there when the process wakes up
        end_lease(stage, zombie)
        stage.open()
        stage.commits.wait_for("SELECT 1 FROM events WHERE run_id = ? AND type = 'lease.lost'", run_id)
        if point == "read":
            stage.outside.wait_for_read("first", 2)
        else:
            run = await stage.ended(run_id)
            assert run.status is RunStatus.IN_DOUBT
            await stage.app.engine.resume(run_id, "value", value='{"effect": "decided"}', via="test")
            stage.outside.wait_for_read("after")
        epoch = stage.commits.read("SELECT epoch FROM runs WHERE id = ?", run_id)[0]["epoch"]

        zombie.send(signal.SIGCONT)
        stage.outside.open_gate("first")
        stage.outside.release()
        # It has tried to write, and gives the run up.
        stage.wait_given_up(zombie, guests)
        stage.outside.open_gate("after")
        run = await stage.ended(run_id)
        events = stage.events(run_id)
        (row,) = stage.runs()

    assert run.status is RunStatus.COMPLETED, run.error
    assert run.output == ("pay" if point == "read" else "decided")
    assert stage.outside.effects == {"pay": 1}
    assert [kind for kind, _ in events].count("run.completed") == 1
    assert [data["step"] for kind, data in events if kind == "step.completed"] == ["before", "after"]
    assert row["epoch"] == epoch


COUNTED = """
def run(ctx, base: str):
    tools.curl.post(url=f"{base}/effect/{ctx.run_id}", json={})
    return ctx.attempt
"""


@pytest.mark.slow
@pytest.mark.asyncio
async def test_scenario_13_five_processes_that_open_one_home_at_once_share_its_runs(tmp_path: Path, workers: Workers):
    async with staging(tmp_path, workers) as stage:
        ids = [await stage.start(COUNTED) for _ in range(15)]
        for _ in range(5):
            stage.open()
        more = [await stage.start(COUNTED) for _ in range(5)]
        ended = [await stage.ended(run_id) for run_id in (*ids, *more)]
        alive = stage.commits.read("SELECT count(*) FROM workers")[0][0]

    # Nobody has taken a run from somebody else: each was begun once.
    assert [run.output for run in ended] == [1] * 20
    assert stage.outside.effects == dict.fromkeys((*ids, *more), 1)
    assert alive == 5


@pytest.mark.slow
@pytest.mark.asyncio
async def test_scenario_13_two_servers_make_one_new_home_at_once(tmp_path: Path):
    home = make_home(tmp_path / "home")
    servers = [Server(home), Server(home)]
    with Outside().serving() as outside:
        await asyncio.gather(*(asyncio.to_thread(server.start) for server in servers))
        try:
            async with servers[0].client() as one, servers[1].client() as other:
                await call(one, "create_workflow", name="flow", source=COUNTED)
                started = [
                    await call(client, "run_workflow", name="flow", arguments={"base": outside.url})
                    for client in (one, other) * 4
                ]
                ended = [await at_rest(one, run["run_id"]) for run in started]
        finally:
            codes = [server.stop() for server in servers]

    assert [run["output"] for run in ended] == [1] * 8
    assert set(outside.effects.values()) == {1}
    assert codes == [0, 0]


TAKE_OVER = {
    "before it is begun": ("DELETE ON workers", "1"),
    "before a claim": ("UPDATE OF owner ON runs", "NEW.owner IS NOT NULL"),
    "before the first event": ("INSERT ON events", "NEW.type = 'run.resumed'"),
}


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize("point", TAKE_OVER)
async def test_scenario_14_a_take_over_that_is_cut_short_strands_no_run(tmp_path: Path, workers: Workers, point: str):
    async with staging(tmp_path, workers) as stage:
        stage.open()
        run_ids = [
            await stage.start(COUNTED.replace("tools", "tools.fetch(url=base + '/gate/first'); tools", 1))
            for _ in range(3)
        ]
        stage.outside.wait_for_read("first", 3)
        stage.kill()
        stage.outside.open_gate("first")
        with stage.commits.stuck(*TAKE_OVER[point]):
            stage.open()
            stage.kill_stuck()
        stage.open()
        ended = [await stage.ended(run_id) for run_id in run_ids]
        owned = stage.commits.read("SELECT count(*) FROM runs WHERE owner IS NOT NULL")[0][0]

    assert [run.status for run in ended] == [RunStatus.COMPLETED] * 3, ended
    assert stage.outside.effects == dict.fromkeys(run_ids, 1)
    assert owned == 0


PARKED = {
    "a question": ("await ctx.wait_for_user('?')", "UPDATE OF status ON runs", "NEW.status = 'waiting'"),
    "a far timer": ("await ctx.sleep(600)", "UPDATE OF status ON runs", "NEW.status = 'sleeping'"),
    "a near timer": ("await ctx.sleep(1.5)", "INSERT ON journal", "NEW.kind = 'timer' AND NEW.status = 'ok'"),
    "a child": (
        "await ctx.invoke('kid')",
        "UPDATE OF status ON runs",
        "NEW.status = 'waiting' AND NEW.parent_id IS NULL",
    ),
}


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize("wait", PARKED)
@pytest.mark.parametrize("how", ["killed", "evicted"])
async def test_scenario_15_no_run_is_parked_in_a_process_alone(tmp_path: Path, workers: Workers, wait: str, how: str):
    code, operation, when = PARKED[wait]
    source = (
        "async def run(ctx, base: str):\n    await ctx.step('a', tools.fetch, url=base + '/r/a')\n"
        f"    got = {code}\n    await ctx.step('b', tools.curl.post, url=base + '/effect/b', json={{}})\n    return got\n"
    )
    async with staging(tmp_path, workers) as stage:
        await stage.store("kid", "async def run(ctx):\n    return await ctx.wait_for_user('?')\n")
        first = stage.open()
        if how == "killed":
            # It dies in the moment in which it would have written that the run waits.
            with stage.commits.stuck(operation, when):
                run_id = await stage.start(source)
                stage.kill_stuck()
        else:
            run_id = await stage.start(source)
            stage.commits.wait_for("SELECT 1 FROM waits WHERE run_id = ?", run_id)
            stage.stop(first)
            end_lease(stage, first)
        stage.open()
        if how == "evicted":
            stage.commits.wait_for(
                "SELECT 1 FROM events WHERE run_id = ? AND type = 'lease.lost' OR EXISTS "
                "(SELECT 1 FROM runs WHERE id = ? AND owner IS NULL)",
                run_id,
                run_id,
            )
            first.send(signal.SIGCONT)
        if wait == "a far timer":
            stage.commits.wait_for("SELECT 1 FROM runs WHERE id = ? AND status = 'sleeping'", run_id)
            stage.commits.change("UPDATE waits SET until = until - 3600")
            stage.commits.change("UPDATE runs SET wake_at = wake_at - 3600")
        if wait in ("a question", "a child"):
            run = await stage.ended(run_id)
            asks = run_id if wait == "a question" else run.waiting_for[0].context["run_id"]
            stage.commits.wait_for("SELECT 1 FROM waits WHERE run_id = ? AND kind = 'input' AND status = 'open'", asks)
            await stage.app.engine.decide(asks, "answer", value="yes", via="test")
            stage.commits.wait_for("SELECT 1 FROM runs WHERE id = ? AND status = 'completed'", run_id)
        run = await stage.ended(run_id)

    assert run.status is RunStatus.COMPLETED, run.error
    assert run.output == ("yes" if wait in ("a question", "a child") else None)
    assert stage.outside.effects == {"b": 1}
