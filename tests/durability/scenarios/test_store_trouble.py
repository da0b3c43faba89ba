"""A store that is full or locked for long, and tasks that nobody holds."""

import asyncio
import contextlib
import gc
import os
import resource
import sqlite3
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from durability.scenarios.staging import Stage, staging
from stepwell.engine.live import Signals
from stepwell.engine.recorder import Lease, Recorder
from stepwell.errors import StoreError
from stepwell.model import RunStatus
from stepwell.store import claims
from stepwell.store.database import open_database
from stepwell_server import Session
from support.server import make_home
from support.workers import Worker, Workers

SOURCE = """
import json

async def run(ctx, base: str):
    await ctx.step("before", tools.curl.post, url=base + "/effect/before", json={})
    paid = json.loads(tools.curl.post(url=base + "/hold/pay", json={}))
    for n in range(3):
        await ctx.step("after", tools.curl.post, url=f"{base}/effect/after{n}", json={})
    return paid["effect"]
"""
EFFECTS = {"before": 1, "pay": 1, "after0": 1, "after1": 1, "after2": 1}


async def go_on_alone(stage: Stage, run_id: str) -> None:
    """Check that the run goes on by itself, or asks about the call whose answer could not be written."""
    run = await stage.ended(run_id)
    while run.status is RunStatus.IN_DOUBT:
        name = run.waiting_for[0].context["arguments"]["url"].rpartition("/")[2]
        value = f'{{"effect": "{name}"}}'
        await stage.app.engine.resume(
            run_id, "value" if stage.outside.effects[name] else "retry", value=value, via="test"
        )
        run = await stage.ended(run_id)
    assert run.status is RunStatus.COMPLETED, run.error
    assert run.output == "pay"
    assert stage.outside.effects == EFFECTS
    assert [row[0] for row in stage.commits.read("PRAGMA integrity_check")] == ["ok"]


@contextmanager
def no_room(worker: Worker) -> Generator[None, None, None]:
    """Refuse every write of a worker that goes behind the first page of a file."""
    _, hard = resource.prlimit(worker.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (hard, hard))


def run_out(connection: sqlite3.Connection) -> None:
    """Do as SQLite does where the disk is full: it ends the transaction by itself."""
    connection.execute("ROLLBACK")
    raise sqlite3.OperationalError("database or disk is full")


def no_disk(_: sqlite3.Connection) -> int:
    raise sqlite3.OperationalError("disk I/O error")


@pytest.mark.asyncio
async def test_a_full_disk_is_told_as_such_to_all_who_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(claims, "holds", lambda *_: True)
    async with open_database(tmp_path / "x.db") as database:
        for use in (database.read, database.write):
            with pytest.raises(StoreError, match="disk is full"):
                await use(run_out)
        with monkeypatch.context() as patched:
            patched.setattr("stepwell.store.database._data_version", no_disk)
            for version in (database.data_version, database.foreign_version):
                with pytest.raises(StoreError, match="disk I/O error"):
                    await version()
        recorder, leases = Recorder(database, "w", Signals()), [Lease("one", 1), Lease("two", 1)]
        async with recorder.serve():
            for lease, write in zip(leases, (lambda c: c.execute("SELECT 1"), run_out), strict=True):
                recorder.add(lease, write)
            for lease in leases:
                with pytest.raises(StoreError, match="disk is full"):
                    await recorder.durable(lease)
        assert await database.write(lambda c: c.execute("SELECT 1").fetchone()[0]) == 1


@pytest.mark.slow
@pytest.mark.asyncio
async def test_scenario_also_a_run_goes_on_when_files_may_grow_again(tmp_path: Path, workers: Workers):
    async with staging(tmp_path, workers) as stage:
        worker = stage.open()
        run_id = await stage.start(SOURCE)
        stage.outside.wait_for_effect("pay")
        guests = stage.guests(worker)
        with no_room(worker):
            stage.outside.release()
            # It cannot even write that it gives the run up.
            stage.wait_given_up(worker, guests)
            (row,) = stage.runs()
            assert row["status"] == "running"
            assert stage.outside.effects == {"before": 1, "pay": 1}
        await go_on_alone(stage, run_id)


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path, None, None]:
    """A file system of 4 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "stepwell-test", str(path)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount")
    if done.returncode:
        pytest.skip("only root may mount")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(disk: Path) -> Path:
    """Leave no room on a disk; return the file to remove."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    return filler


async def start_many(stage: Stage) -> None:
    """Use up what room the log of the store has left."""
    for n in range(100):
        await stage.start("def run(base: str):\n    return 1  # " + "x" * 9000, name=f"other_{n}")


@pytest.mark.slow
@pytest.mark.asyncio
async def test_scenario_also_a_run_goes_on_when_a_full_disk_has_room_again(small_disk: Path, workers: Workers):
    async with staging(small_disk, workers) as stage:
        stage.open()
        run_id = await stage.start(SOURCE)
        stage.outside.wait_for_effect("pay")
        filler = fill(small_disk)
        stage.outside.release()
        with pytest.raises(StoreError) as refused:
            await start_many(stage)
        assert "room" in refused.value.hint
        filler.unlink()
        await go_on_alone(stage, run_id)


@pytest.mark.slow
@pytest.mark.asyncio
async def test_scenario_also_a_store_that_is_locked_for_a_while_is_waited_for(tmp_path: Path, workers: Workers):
    async with staging(tmp_path, workers) as stage:
        stage.open()
        run_id = await stage.start(SOURCE)
        stage.outside.wait_for_effect("pay")
        with stage.commits.held():
            stage.outside.release()
            await asyncio.sleep(1.5)
            assert stage.outside.effects == {"before": 1, "pay": 1}
        run = await stage.ended(run_id)

    assert (run.status, run.output) == (RunStatus.COMPLETED, "pay")
    assert stage.outside.effects == EFFECTS


@pytest.mark.skipif(not os.environ.get("STEPWELL_LONG"), reason="STEPWELL_LONG=1 runs what takes minutes")
@pytest.mark.asyncio
@pytest.mark.parametrize("dead", [False, True], ids=["working", "taking-over"])
async def test_scenario_also_a_store_that_is_locked_for_longer_than_every_lease(
    tmp_path: Path, workers: Workers, dead: bool
):
    async with staging(tmp_path, workers) as stage:
        first = stage.open()
        run_id = await stage.start(SOURCE)
        stage.outside.wait_for_effect("pay")
        stage.open()
        stage.commits.wait_for("SELECT 1 WHERE (SELECT count(*) FROM workers) = 2")
        with stage.commits.held():
            if dead:
                stage.cast.remove(first)
                first.end()
            stage.outside.release()
            with pytest.raises(StoreError) as refused:
                await stage.start("def run(base: str):\n    return 1\n", name="other")
            assert "no other program holds the file" in refused.value.hint
            await asyncio.sleep(15)
        await go_on_alone(stage, run_id)


FORGOTTEN = """
import asyncio, gc, json

async def one(ctx, base, n):
    await asyncio.sleep(0)
    got = await ctx.step("fetch", tools.fetch, url=f"{base}/gate/{n}")
    gc.collect()
    await ctx.step("keep", tools.curl.post, url=f"{base}/effect/{n}", json={})

async def run(ctx, base: str):
    for n in range(8):
        asyncio.create_task(one(ctx, base, n))
        gc.collect()
    await ctx.step("all", tools.fetch, url=base + "/gate/all")
    gc.collect()
    while len(asyncio.all_tasks()) > 2:
        await ctx.sleep(0.02)
        gc.collect()
    return "done"
"""


@pytest.mark.slow
@pytest.mark.asyncio
async def test_scenario_also_tasks_that_nobody_holds_are_not_collected(tmp_path: Path, workers: Workers):
    async with staging(tmp_path, workers) as stage:
        stage.open()
        run_id = await stage.start(FORGOTTEN)
        for n in range(8):
            stage.outside.wait_for_read(str(n))
        stage.outside.open_gate(*"01234567")
        stage.outside.wait_for_read("all")
        stage.kill()
        stage.outside.open_gate("all")
        run = await stage.go_on(run_id)

    assert run.output == "done", run.error
    assert stage.outside.effects == {str(n): 1 for n in range(8)}


@pytest.mark.asyncio
async def test_scenario_also_the_hosts_tasks_are_not_collected_while_they_wait(tmp_path: Path):
    source = (
        "async def run(ctx):\n    got = []\n    for n in range(5):\n"
        "        got.append(await ctx.step('s', lambda: n))\n        await ctx.sleep(0.01)\n    return got\n"
    )
    async with Session(make_home(tmp_path / "home")) as session:
        await session.add_workflow("flow", source)
        run = await session.start("flow")
        waiting = asyncio.create_task(session.wait(run))
        while not waiting.done():
            gc.collect()
            await asyncio.sleep(0.01)

    assert waiting.result().output == list(range(5))
