"""Old runs are deleted; what goes on, and what belongs to it, is not."""

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from cli.processes import Stepwell
from stepwell.errors import ConfigError, NotFound
from stepwell.model import RunStatus
from stepwell_server import Session
from stepwell_server.durations import read_duration
from stepwell_server.settings import parse_settings
from support.outside import Outside

LARGE = '''
"""Keep something large."""

def run(n: int) -> str:
    artifacts.save("report", {"n": n, "text": "r" * 100_000})
    return ctx.step("large", chr(97 + n) * 300_000)[:3]
'''
CHILD = "def run():\n    return 'child'\n"
PARENT = """
async def run(ctx):
    first = await ctx.invoke("child")
    answer = await ctx.wait_for_user("Well?")
    return [first, answer, await ctx.invoke("child")]
"""


def count(home: Path, table: str) -> int:
    connection = sqlite3.connect(home / "stepwell.db")
    try:
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    finally:
        connection.close()


async def collect(session: Session, **options: Any) -> Any:
    return await session.app.engine.collect(time.time(), **options)


@pytest.mark.asyncio
async def test_scenario_24_old_runs_go_with_what_only_they_had_and_the_file_shrinks(home: Path) -> None:
    async with asyncio.timeout(90), Session(home) as session:
        await session.add_workflow("large", LARGE)
        for n in range(12):
            assert (await session.run("large", n=n)).status is RunStatus.COMPLETED
        await session.run_code("'ad hoc'")
        await session.app.engine.emit("nobody", 1)
        assert (await collect(session, dry_run=True)).runs == 13
        assert (await session.app.engine.list()).total == 13
        done = await collect(session)

        assert (done.runs, done.events, done.versions, done.blobs) == (13, 1, 1, 12)
        assert done.bytes > 3_000_000
        assert (await session.app.engine.list()).total == 0
        for table in ("journal", "waits", "events", "logs", "runs", "emitted"):
            assert count(home, table) == 0
        # The reports stay, and so does the workflow.
        assert len(await session.app.engine.artifacts()) == 1
        assert count(home, "blobs") == count(home, "artifacts") == 12
        kept = await session.run("large", n=3)
        assert kept.output == "ddd"
        assert (await collect(session, artifacts=True)).runs == 1
        assert count(home, "artifacts") == 12  # those of runs that were deleted before


@pytest.mark.asyncio
async def test_scenario_24_a_child_that_a_live_run_awaited_stays(home: Path) -> None:
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("child", CHILD)
        await session.add_workflow("parent", PARENT)
        parent = await session.run("parent")
        assert parent.status is RunStatus.WAITING
        await session.add_workflow("child", CHILD.replace("child", "other"), replace=True)
        await session.run("child")
        assert (await collect(session)).runs == 1  # the lone one

        run = await session.answer(parent, "fine")
        assert (run.status, run.output) == (RunStatus.COMPLETED, ["child", "fine", "child"])
        assert (await collect(session)).runs == 3


@pytest.mark.asyncio
async def test_scenario_24_dead_young_and_live_runs_stay(home: Path) -> None:
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("dies", "options = dict(retries=1, retry_delay=0)\n\ndef run():\n    1 / 0\n")
        await session.add_workflow("waits", "async def run(ctx):\n    return await ctx.wait_for_event('go')\n")
        dead = await session.run("dies")
        assert dead.status is RunStatus.DEAD
        waits = await session.run("waits")
        await session.app.engine.emit("later", 1)
        young = await session.run_code("1")
        assert (await session.app.engine.collect(young.created_at - 1)).runs == 0
        done = await collect(session)
        assert (done.runs, done.events) == (1, 0)  # a run that goes on may still ask for the event
        with pytest.raises(NotFound):
            await session.get(young)
        await session.resume(dead, "discard")
        await session.app.engine.emit("go", 5)
        assert (await session.wait(waits)).output == 5
        done = await collect(session)
        assert (done.runs, done.events) == (2, 2)


@pytest.mark.asyncio
async def test_scenario_24_a_fork_outlives_its_source_and_a_reader_is_told(home: Path, outside: Outside) -> None:
    source = (
        "async def run(ctx, base):\n    large = await ctx.step('large', 'x' * 100_000)\n"
        "    await ctx.step('hold', tools.fetch, url=base + '/gate/hold')\n    return len(large)\n"
    )
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("holds", source)
        started = await session.start("holds", base=outside.url)
        await asyncio.to_thread(outside.wait_for_read, "hold")
        cancelled = await session.cancel(started)
        fork = await session.app.engine.start_again(cancelled.id, from_step="hold")
        await asyncio.to_thread(outside.wait_for_read, "hold", 2)
        reading = [asyncio.create_task(session.app.engine.get(cancelled.id)) for _ in range(20)]
        done = await collect(session)
        read = await asyncio.gather(*reading, return_exceptions=True)
        outside.open_gate("hold")
        run = await session.wait(fork)

    assert (done.runs, done.blobs) == (1, 0)
    assert all(isinstance(found, NotFound) or found.status == "cancelled" for found in read)  # pyright: ignore[reportAttributeAccessIssue]
    assert (run.status, run.output, run.skipped_steps) == (RunStatus.COMPLETED, 100_000, ("large",))


@pytest.mark.asyncio
async def test_scenario_24_another_process_collects_while_this_one_works(home: Path, outside: Outside) -> None:
    async with asyncio.timeout(90), Session(home) as session:
        await session.add_workflow("large", LARGE)
        await session.add_workflow("holds", "def run(base):\n    return tools.fetch(url=base + '/gate/h')\n")
        for n in range(5):
            await session.run("large", n=n)
        held = await session.start("holds", base=outside.url)
        await asyncio.to_thread(outside.wait_for_read, "h")
        done = await asyncio.to_thread(Stepwell(home), "gc", "--older-than", "0s", "--artifacts", "--output", "json")
        assert done.data["runs"] == 5, done
        assert done.data["bytes"] > 0
        outside.open_gate("h")
        assert (await session.wait(held)).status is RunStatus.COMPLETED
        assert (await session.run("large", n=1)).output == "bbb"


def test_a_file_that_was_made_without_it_learns_to_shrink(home: Path) -> None:
    connection = sqlite3.connect(home / "stepwell.db")
    connection.execute("PRAGMA auto_vacuum = NONE")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE first (n)")
    connection.execute("DROP TABLE first")
    connection.close()
    stepwell = Stepwell(home)
    stepwell.create("large", LARGE)
    for n in range(4):
        stepwell.json("run", "large", f"n={n}")
    shown = stepwell.json("gc", "--older-than", "0s", "--dry-run")
    assert (shown["runs"], shown["bytes"], shown["dry_run"]) == (4, 0, True)
    done = stepwell.json("gc", "--older-than", "0s", "--artifacts")

    assert done["runs"] == 4
    assert done["bytes"] > 1_000_000
    connection = sqlite3.connect(home / "stepwell.db")
    assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert stepwell.json("gc")["runs"] == 0
    assert stepwell.here("gc", "--older-than", "soon").code == 2


@pytest.mark.asyncio
async def test_a_server_collects_by_itself_where_it_is_asked_to(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.engine.retention.FIRST_S", 0.01)
    monkeypatch.setattr("stepwell.engine.retention.EVERY_S", 0.05)
    (home / "stepwell.toml").write_text('[retention]\nended_after = "1s"\n')
    async with asyncio.timeout(60), Session(home) as session:
        run = await session.run_code("1")
        while (await session.app.engine.list()).items:  # noqa: ASYNC110  nobody is told of what is deleted
            await asyncio.sleep(0.05)
        with pytest.raises(NotFound):
            await session.get(run)


def test_durations() -> None:
    assert [read_duration(text) for text in ("45s", "2m", "3h", "30d", "1w")] == [45, 120, 10_800, 2_592_000, 604_800]
    for text in ("", "30", "d", "1.5h", "-1d", "9" * 20 + "d"):
        with pytest.raises(ValueError, match="no duration"):
            read_duration(text)
    assert parse_settings("").retention.ended_after is None
    assert parse_settings('[retention]\nended_after = "30d"').retention.ended_after == 2_592_000
    with pytest.raises(ConfigError, match=r"line 2: .*ended_after"):
        parse_settings('[retention]\nended_after = "soon"')
