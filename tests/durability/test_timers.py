"""Timers that were due while nothing ran, and clocks that are set."""

import asyncio
import sqlite3
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stepwell.engine import alarms, waiting
from stepwell.engine.alarms import Alarms
from stepwell.model import RunStatus
from stepwell.store import claims
from stepwell.store.database import open_database
from stepwell_server import Session
from support.outside import Outside
from support.server import Server, at_rest, call, make_home

NAP = """
async def run(ctx, base):
    await ctx.sleep(86400, name="nap")
    tools.curl.post(url=base + "/effect/" + ctx.run_id, json={})
    await ctx.sleep(86400, name="again")
    return "woke"
"""


def execute(home: Path, sql: str, *values: object) -> list[Any]:
    connection = sqlite3.connect(home / "stepwell.db", timeout=60)
    try:
        rows = connection.execute(sql, values).fetchall()
        connection.commit()
    finally:
        connection.close()
    return rows


async def asleep(home: Path, outside: Outside) -> str:
    async with Session(home) as session:
        await session.add_workflow("nap", NAP)
        run = await session.wait(await session.start("nap", base=outside.url), 60)
        assert run.status is RunStatus.SLEEPING
    return run.id


def copies(home: Path, run_id: str, count: int) -> list[str]:
    """Copy a sleeping run with its journal and waits; as fast as rows are written."""
    made = [f"{run_id}-{n}" for n in range(count)]
    connection = sqlite3.connect(home / "stepwell.db", timeout=60)
    for table, column in (("runs", "id"), ("journal", "run_id"), ("waits", "run_id")):
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        kept = ", ".join(name for name in columns if name not in (column, "root_id"))
        root = ", root_id" if table == "runs" else ""
        connection.executemany(
            f"INSERT INTO {table} ({column}{root}, {kept}) SELECT ?1{', ?1' if root else ''}, {kept} FROM {table} WHERE {column} = ?2",
            [(ident, run_id) for ident in made],
        )
    connection.commit()
    connection.close()
    return made


def overdue(home: Path) -> None:
    """A day goes by while nothing runs."""
    execute(home, "UPDATE waits SET until = until - 86400 WHERE kind = 'timer' AND status = 'open'")
    execute(home, "UPDATE runs SET wake_at = wake_at - 86400 WHERE wake_at IS NOT NULL")


@pytest.mark.asyncio
async def test_scenario_19_timers_that_were_due_meanwhile_fire_once_each(tmp_path: Path, outside: Outside):
    home = make_home(tmp_path / "home")
    run_id = await asleep(home, outside)
    every = [run_id, *copies(home, run_id, 20)]
    overdue(home)
    for _ in range(2):  # the second start finds nothing that is due
        async with Session(home) as session:
            for ident in every:
                await asyncio.to_thread(outside.wait_for_effect, ident)
                run = await session.wait(ident, 60)
                assert [wait.name for wait in run.waiting_for] == ["again"]

    assert outside.effects == dict.fromkeys(every, 1)


@pytest.mark.asyncio
async def test_scenario_19_ten_thousand_overdue_timers_are_taken_up_in_portions(tmp_path: Path, outside: Outside):
    home = make_home(tmp_path / "home")
    run_id = await asleep(home, outside)
    copies(home, run_id, 10_000)
    overdue(home)
    async with open_database(home / "stepwell.db") as database:
        taken = await database.write(lambda c: claims.list_claimable(c, time.time(), 8))

    assert len(taken) == 8
    counts = dict(execute(home, "SELECT status, count(*) FROM runs GROUP BY status"))
    assert counts == {"pending": 8, "sleeping": 10_001 - 8}


@pytest.mark.asyncio
async def test_scenario_20_a_run_that_is_woken_before_its_time_sleeps_on(tmp_path: Path, outside: Outside):
    home = make_home(tmp_path / "home")
    run_id = await asleep(home, outside)
    (until,) = execute(home, "SELECT until FROM waits WHERE status = 'open'")[0]
    execute(home, "UPDATE runs SET wake_at = 1.0")  # as if the clock had been set back after it was woken
    async with Session(home) as session:
        async with asyncio.timeout(60):
            while "run.resumed" not in [event.type for event in await session.timeline(run_id)]:
                await session.app.engine.wait(run_id, 0.05)
            run = await session.app.engine.wait(run_id, 5)

    assert [wait.until for wait in run.waiting_for] == [until]
    assert execute(home, "SELECT wake_at FROM runs") == [(until,)]
    assert outside.effects == {}


@pytest.mark.asyncio
async def test_scenario_20_a_process_that_waits_for_a_timer_goes_by_the_clock_as_it_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    clock = SimpleNamespace(now=1000.0)
    for module in (waiting, alarms):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: clock.now))
    monkeypatch.setattr(alarms, "CLOCK_S", 0.05)
    async with Session(make_home(tmp_path / "home")) as session:
        await session.add_workflow("nap", "async def run(ctx):\n    await ctx.sleep(1)\n    return 'woke'\n")
        run = await session.start("nap")
        async with asyncio.timeout(60):
            while not (await session.get(run)).waiting_for:
                await session.wait(run, 0.02)
        run = await session.wait(run, 1.5)
        assert run.status is RunStatus.RUNNING  # more than a second has passed, but not by the clock
        clock.now = 1001.0
        run = await session.wait(run, 60)

    assert run.output == "woke"


@pytest.mark.asyncio
async def test_a_deadline_comes_also_behind_one_that_nobody_waits_for_any_more():
    kept, loop = Alarms(), asyncio.get_running_loop()
    given_up, first, second = (loop.create_future() for _ in range(3))
    kept.add(time.time() + 0.01, given_up)
    given_up.cancel()
    await asyncio.sleep(0)  # it is told
    now = time.time()
    kept.add(now + 0.04, second)
    kept.add(now + 0.02, first)
    async with asyncio.timeout(20):
        await first
        await second


RACE = """
import asyncio

async def run(ctx, base, seconds: float):
    ask = asyncio.ensure_future(ctx.wait_for_user("?", name="ask"))
    nap = asyncio.ensure_future(ctx.sleep(seconds, name="nap"))
    done, rest = await asyncio.wait({ask, nap}, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    won = "ask" if ask in done else "nap"
    await ctx.step(tools.curl.post, url=f"{base}/effect/{won}", json={})
    await ctx.step(tools.fetch, url=f"{base}/gate/{won}")
    return won
"""


@pytest.mark.slow
@pytest.mark.parametrize("winner", ["ask", "nap", "either"])
@pytest.mark.asyncio
async def test_scenario_3_a_question_that_races_a_sleep_has_one_winner_over_a_kill(
    server: Server, outside: Outside, winner: str
):
    async with server.client() as client:
        await call(client, "create_workflow", name="race", source=RACE)
        seconds = 1.0 if winner == "nap" else 86400.0
        run = await call(client, "run_workflow", name="race", arguments={"base": outside.url, "seconds": seconds})
        ident = run["run_id"]
        if winner != "nap":
            await at_rest(client, ident)
            if winner == "ask":
                await call(client, "approve_run", run_id=ident, decision="answer", value="x")
    if winner == "either":
        server.kill()
        overdue(server.home)
        answer = 'UPDATE waits SET status = \'decided\', decision = \'{"decision": "answer", "value": "x"}\' WHERE kind = \'input\''
        execute(server.home, answer)
        server.start()
        await asyncio.to_thread(wait_for_any, outside)
    else:
        await asyncio.to_thread(outside.wait_for_read, winner)
    (won,) = outside.effects
    server.kill()
    overdue(server.home)
    outside.open_gate("ask", "nap")
    server.start()
    async with server.client() as client:
        late = await call(client, "approve_run", run_id=ident, decision="answer", value="late", key="ask")
        run = await at_rest(client, ident)

    assert late["error"]["code"] == "conflict"
    assert (run["status"], run["output"]) == ("completed", won)
    assert winner in (won, "either")
    assert outside.effects == {won: 1}


def wait_for_any(outside: Outside) -> None:
    while not set(outside.reads):
        time.sleep(0.02)
