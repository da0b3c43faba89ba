"""Stores of earlier versions: taken over whole, by one of several processes, or left as they are."""

import asyncio
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from cli.processes import COMMAND, Stepwell
from durability.old_stores import RUNS, make_store, scripts
from stepwell.errors import StoreError
from stepwell.model import RunStatus
from stepwell.store.database import open_database
from stepwell_server import Session

SCHEMAS = range(1, len(scripts()) + 1)
CRASH = """
import asyncio, os, pathlib, signal, sys
from stepwell.store import database

whole = database.split_statements

def dying(script):
    statements = whole(script)
    yield from statements[: len(statements) - 1]
    os.kill(os.getpid(), signal.SIGKILL)

database.split_statements = dying

async def main():
    async with database.open_database(pathlib.Path(sys.argv[1])):
        pass

asyncio.run(main())
"""


def schema_of(path: Path) -> tuple[int, list[str]]:
    connection = sqlite3.connect(path)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    shape = [row[0] for row in connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")]
    connection.close()
    return version, shape


@pytest.mark.asyncio
@pytest.mark.parametrize("schema", SCHEMAS)
async def test_scenario_8_runs_of_an_older_schema_go_on(tmp_path: Path, schema: int) -> None:
    path = make_store(tmp_path / "home", schema)
    async with asyncio.timeout(120), Session(tmp_path / "home") as session:
        engine = session.app.engine
        listed = {run.id for run in (await engine.list(limit=50)).items}
        assert set(RUNS) <= listed
        assert len(listed) == len(RUNS) + 1  # the child
        assert len(await session.list_workflows()) == 7
        assert (await session.search("sleep")).items[0].workflow.name == "nap"
        assert (await engine.artifact("r-parent", "report")).media_type == "application/json"
        for run_id in RUNS:
            run = await session.get(run_id)
            assert (await session.timeline(run) == []) == (run_id in ("r-pending", "r-running")) or run.attempts

        assert (await session.answer("r-ask", "fine")).output == {"first": 1, "answer": "fine"}
        assert (await session.approve("r-approve")).output == "approved"
        await engine.emit("go", 7)
        assert (await session.wait("r-event")).output == 7
        nap = await session.wait("r-nap")
        assert (nap.status, nap.output, nap.skipped_steps) == (RunStatus.COMPLETED, "awake", ("before",))
        [child] = [run.id for run in (await engine.list(workflow="ask")).items if run.parent_id]
        await session.answer(child, "ok")
        assert (await session.wait("r-parent")).output == {"first": 2, "answer": "ok"}
        failed = await session.get("r-fails")
        assert failed.error is not None
        assert (failed.status, failed.error.message) == (RunStatus.FAILED, "not yet")
        resumed = await session.resume(failed)
        assert (resumed.output, resumed.skipped_steps) == (2, ("kept",))
        assert (await session.start_again("r-ask", from_step="first")).status is RunStatus.WAITING
        for run_id in ("r-done", "r-pending", "r-running"):
            assert (await session.wait(run_id)).output == 3
    assert schema_of(path)[0] == len(scripts())


@pytest.mark.asyncio
async def test_a_migrated_store_has_the_shape_of_a_new_one(tmp_path: Path) -> None:
    async with open_database(tmp_path / "new.db"):
        pass
    for schema in SCHEMAS:
        path = make_store(tmp_path / str(schema), schema)
        async with open_database(path):
            pass
        assert schema_of(path) == schema_of(tmp_path / "new.db")
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        connection.close()


@pytest.mark.asyncio
async def test_a_store_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = make_store(tmp_path / "home", len(scripts()))
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    before = hashlib.sha256(path.read_bytes()).hexdigest()

    with pytest.raises(StoreError, match=f"schema 99, this Stepwell knows up to {len(scripts())}") as refused:
        async with open_database(path):
            pass
    assert "Upgrade" in refused.value.hint
    done = await asyncio.to_thread(Stepwell(tmp_path / "home").here, "runs")
    assert (done.code != 0, "schema 99" in done.err) == (True, True)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_two_processes_open_an_old_store_at_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    path = make_store(home, 1)
    environment = os.environ | {"STEPWELL_HOME": str(home)}
    opening = [
        subprocess.Popen([*COMMAND, "runs", "--output", "json"], env=environment, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    outputs = [json.loads(process.communicate(timeout=60)[0]) for process in opening]

    assert [process.returncode for process in opening] == [0, 0, 0]
    assert {output["total"] for output in outputs} == {len(RUNS) + 1}
    assert schema_of(path)[0] == len(scripts())


@pytest.mark.parametrize("schema", SCHEMAS[:-1])
def test_a_crash_within_a_migration_leaves_the_older_schema(tmp_path: Path, schema: int) -> None:
    path = make_store(tmp_path / "home", schema)
    before = schema_of(path)
    died = subprocess.run([sys.executable, "-c", CRASH, str(path)], check=False, timeout=60)

    assert died.returncode == -signal.SIGKILL
    assert schema_of(path) == before
    assert Stepwell(tmp_path / "home").json("runs")["total"] == len(RUNS) + 1
    assert schema_of(path)[0] == len(scripts())
