"""Events and signals: each reaches a run once and in order, whenever it is sent."""

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from stepwell.engine import emitting
from stepwell.errors import Conflict, InvalidArguments, NotFound
from stepwell.model import RunStatus
from stepwell.store.database import open_database
from stepwell_server import Session
from stepwell_server.app import open_app

TAKE = "async def run(ctx, names: list):\n    return [await ctx.wait_for_event(name) for name in names]\n"
ASK_FIRST = """
async def run(ctx, names: list):
    await ctx.wait_for_user("?")
    return [await ctx.wait_for_event(name) for name in names]
"""


def execute(home: Path, sql: str, *values: object) -> list[Any]:
    connection = sqlite3.connect(home / "stepwell.db", timeout=60)
    try:
        rows = connection.execute(sql, values).fetchall()
        connection.commit()
    finally:
        connection.close()
    return rows


@pytest.mark.asyncio
async def test_scenario_16_events_sent_before_the_wait_come_once_and_in_order(home: Path):
    async with Session(home) as session:
        await session.add_workflow("flow", ASK_FIRST)
        run = await session.run("flow", names=["go", "go", "go"])
        await session.emit("go", 1, "e-1")
        await session.emit("go", 2, run=run)
        again = await session.emit("go", 1, "e-1")
        await session.emit("other", 0)
        await session.emit("go", 3)
        run = await session.answer(run, "x")

    assert again.duplicate
    assert run.output == [1, 2, 3]


@pytest.mark.asyncio
async def test_an_event_sent_before_the_run_began_is_not_for_it(home: Path):
    async with Session(home) as session:
        await session.add_workflow("flow", TAKE)
        sent = await session.emit("go", "before")
        run = await session.run("flow", names=["go"])
        assert run.status is RunStatus.WAITING
        await session.emit("go", "after")
        run = await session.wait(run)

    assert sent.count == 0
    assert run.output == ["after"]


@pytest.mark.asyncio
async def test_scenario_17_a_wait_that_timed_out_takes_nothing_and_the_next_one_gets_it(home: Path):
    source = """
async def run(ctx):
    try:
        await ctx.wait_for_event("go", timeout=0.1)
    except TimeoutError:
        await ctx.wait_for_user("?")
    return await ctx.wait_for_event("go")
"""
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.wait(await session.start("flow"), 60)
        assert [wait.kind for wait in run.waiting_for] == ["input"]
        await session.emit("go", "late")
        run = await session.answer(run, "x")

    assert run.output == "late"


RACE = """
import asyncio

async def run(ctx):
    await ctx.wait_for_user("begin?")
    waits = {asyncio.ensure_future(ctx.wait_for_event(name)): name for name in ("a", "b")}
    done, rest = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    (first,), (second,) = [[waits[task] for task in some] for some in (done, rest)]
    await ctx.wait_for_user("go on?")
    return [first, [task.result() for task in done], second, await ctx.wait_for_event(second)]
"""


@pytest.mark.asyncio
async def test_scenario_17_an_event_that_loses_a_race_goes_to_the_next_wait(home: Path):
    async with Session(home) as session:
        await session.add_workflow("flow", RACE)
        run = await session.run("flow")
        await session.emit("a", "of a")
        await session.emit("b", "of b")
        run = await session.answer(run, "x")  # both have come when they are waited for
        assert [wait.prompt for wait in run.waiting_for] == ["go on?"]
    async with Session(home) as session:  # and the replay gives up the same one
        run = await session.answer(run.id, "x")

    assert run.error is None
    first, got, second, other = run.output
    assert {first, second} == {"a", "b"}
    assert (got, other) == ([f"of {first}"], f"of {second}")


@pytest.mark.asyncio
async def test_of_several_waits_of_a_run_the_longest_gets_an_event(home: Path):
    source = (
        "async def run(ctx):\n    return await ctx.parallel(*(ctx.wait_for_event('go') for _ in range(3)),"
        " ctx.wait_for_event('stop'))\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow")
        first = await session.emit("go", 1)
        run = await session.wait(run)
        assert [wait.name for wait in run.waiting_for] == ["go", "go", "stop"]
        for name, payload in (("stop", "s"), ("go", 2), ("go", 3)):
            await session.emit(name, payload)
        run = await session.wait(run, 60)

    assert (first.delivered, first.count) == ((run.id,), 1)
    assert run.output == [1, 2, 3, "s"]


@pytest.mark.asyncio
async def test_an_event_wakes_every_run_that_waits_for_it_a_signal_only_its_own(home: Path):
    async with Session(home) as session:
        await session.add_workflow("flow", TAKE)
        runs = [await session.run("flow", names=["go", "go"]) for _ in range(3)]
        signal = await session.emit("go", "you", run=runs[1])
        await session.wait(runs[1])
        event = await session.emit("go", "all")
        both = await session.wait(runs[1], 60)
        one = await session.wait(runs[0])

    assert (signal.delivered, set(event.delivered)) == ((runs[1].id,), {run.id for run in runs})
    assert both.output == ["you", "all"]
    assert one.status is RunStatus.WAITING


@pytest.mark.asyncio
async def test_scenario_18_a_signal_to_a_run_that_has_ended_or_is_not_there_is_refused(home: Path):
    async with Session(home) as session:
        await session.add_workflow("flow", TAKE)
        run = await session.run("flow", names=[])
        with pytest.raises(Conflict, match="ended as completed"):
            await session.emit("go", 1, run=run)
        with pytest.raises(NotFound) as unknown:
            await session.emit("go", 1, run=run.id[:-1])
    assert run.id in unknown.value.hint
    assert execute(home, "SELECT count(*) FROM emitted") == [(0,)]


@pytest.mark.asyncio
async def test_an_id_is_one_event(home: Path):
    async with Session(home) as session:
        await session.add_workflow("flow", TAKE)
        run = await session.run("flow", names=["other"])
        await session.emit("go", {"a": 1, "b": 2}, "e")
        assert (await session.emit("go", {"b": 2, "a": 1}, "e")).duplicate
        for name, payload, receiver in (("go", {"a": 1}, None), ("stop", {"a": 1, "b": 2}, None), ("go", None, run)):
            with pytest.raises(Conflict, match="was used for the event 'go'"):
                await session.emit(name, payload, "e", run=receiver)


@pytest.mark.parametrize("name", ["", "n" * 201, "a\nb"])
@pytest.mark.asyncio
async def test_names_and_payloads_have_limits(home: Path, name: str):
    async with Session(home) as session:
        with pytest.raises(InvalidArguments, match="name is text"):
            await session.emit(name)
        with pytest.raises(InvalidArguments) as refused:
            await session.emit("go", "x" * emitting.MAX_PAYLOAD)
    assert "artifact" in refused.value.hint


@pytest.mark.asyncio
async def test_an_event_that_a_cancelled_run_had_not_taken_is_there_when_it_is_resumed(home: Path):
    async with Session(home) as session:
        await session.add_workflow("flow", TAKE)
        run = await session.run("flow", names=["go", "go"])
    async with open_app(home, execute=False) as app:
        await app.engine.emit("go", 1)
        await app.engine.cancel(run.id)
        await app.engine.emit("go", 2)
        await app.engine.resume(run.id, via="cli")
    async with Session(home) as session:
        run = await session.wait(run, 60)

    assert run.output == [1, 2]


@pytest.mark.asyncio
async def test_a_run_sends_an_event_once_however_often_its_code_runs(home: Path):
    flaky = """
def tell(ctx, run_id):
    ident = ctx.emit("told", {"n": 1})
    ctx.emit("told", {"n": 2}, run_id=run_id)
    if ctx.run_id and not artifacts.exists("tried"):
        artifacts.save("tried", "yes")
        raise ValueError("again")
    return ident

async def run(ctx, run_id: str):
    ident = await ctx.step(tell, ctx, run_id, retries=1, retry_delay=0)
    await ctx.wait_for_user("?")
    return ident
"""
    async with Session(home) as session:
        await session.add_workflow("flow", TAKE)
        await session.add_workflow("teller", flaky)
        run = await session.run("flow", names=["told", "told", "told"])
        teller = await session.run("teller", run_id=run.id)
        assert teller.status is RunStatus.WAITING, teller.error
        run = await session.wait(run)
    # As if the process had died after it had sent and before that was recorded.
    execute(home, "DELETE FROM journal WHERE run_id = ? AND kind != 'input'", teller.id)
    async with Session(home) as session:
        teller = await session.answer(teller.id, "x")
        run = await session.wait(run)

    assert teller.error is None
    assert [wait.name for wait in run.waiting_for] == ["told"]
    rows = execute(home, "SELECT id, payload FROM emitted ORDER BY seq")
    assert [json.loads(payload) for _, payload in rows] == [{"n": 1}, {"n": 2}]
    assert teller.output == rows[0][0]


@pytest.mark.asyncio
async def test_a_workflow_that_signals_no_run_gets_an_error_it_can_handle(home: Path):
    source = (
        "def run(ctx):\n    try:\n        ctx.emit('go', run_id='r-nobody')\n"
        "    except ValueError as error:\n        return str(error)\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow")

    assert "no run" in run.output


async def many_waiting(home: Path, run_id: str, copies: int) -> None:
    """Copy a run that waits for an event: the cost of real ones would be in their processes."""
    columns = [str(row[1]) for row in execute(home, "PRAGMA table_info(runs)")]
    kept = ", ".join(name for name in columns if name not in ("id", "root_id"))
    series = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)"
    fresh = "printf('%s-%05d', ?1, i)"
    execute(
        home,
        f"{series} INSERT INTO runs (id, root_id, {kept}) SELECT {fresh}, {fresh}, {kept} FROM runs, n WHERE id = ?1",
        run_id, copies,
    )  # fmt: skip
    execute(
        home,
        f"""{series} INSERT INTO waits (run_id, key, kind, name, status, opened_at)
            SELECT {fresh}, key, kind, name, status, opened_at FROM waits, n WHERE run_id = ?1""",
        run_id, copies,
    )  # fmt: skip


@pytest.mark.asyncio
async def test_an_event_for_very_many_goes_out_in_portions_and_survives_its_sender(home: Path):
    async with Session(home) as session:
        await session.add_workflow("flow", TAKE)
        run = await session.run("flow", names=["go"])
    await many_waiting(home, run.id, 2 * emitting.PORTION + 10)

    def die(_: str) -> None:
        raise KeyError("the sender died after its first portion")

    async with open_database(home / "stepwell.db") as database:
        with pytest.raises(KeyError):
            await emitting.emit(database, die, "go", 1, event_id="e", run_id=None)
    open_waits = "SELECT count(*) FROM waits WHERE status = 'open'"
    assert execute(home, open_waits) == [(emitting.PORTION + 11,)]

    async with open_app(home, execute=False) as app:
        second = await app.engine.emit("go", 2, "f")  # overtakes it
        again = await app.engine.emit("go", 1, "e")

    assert (second.count, len(second.delivered)) == (emitting.PORTION + 11, 1000)
    assert (again.duplicate, again.count) == (True, 0)
    assert execute(home, open_waits) == [(0,)]
    given = "SELECT json_extract(decision, '$.event_id'), count(*) FROM waits GROUP BY 1"
    assert execute(home, given) == [("e", 2 * emitting.PORTION + 11)]
    assert execute(home, "SELECT count(*) FROM emitted WHERE reached IS NOT NULL") == [(0,)]


@pytest.mark.asyncio
async def test_a_server_goes_on_with_an_event_whose_sender_died(home: Path):
    async with Session(home) as session:
        await session.add_workflow("flow", TAKE)
        run = await session.run("flow", names=["go"])
    insert = "INSERT INTO emitted (id, name, payload, at, reached) VALUES ('e', 'go', CAST('7' AS BLOB), 1.0, '')"
    execute(home, insert)
    async with Session(home) as session:
        run = await session.wait(run)
        async with asyncio.timeout(60):
            while run.status is RunStatus.WAITING:
                await asyncio.sleep(0.1)  # nothing in this process tells of it
                run = await session.wait(run)

    assert run.output == [7]
