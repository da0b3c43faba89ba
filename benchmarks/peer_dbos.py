"""DBOS on SQLite: `python peer_dbos.py STEPS`, prints JSON.

The file is put into WAL mode before DBOS opens it, which DBOS itself does not do (with its rollback journal it is
about half as fast); `synchronous` stays FULL, SQLite's default and ours. The steps do nothing, as ours. Both of
its styles are measured, sync and async, in one process after a warm-up, without its admin server and with its log off;
the better one counts. 100 workflows run as DBOS starts them: `start_workflow`, or tasks of one event loop.
"""

import asyncio
import json
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

from dbos import DBOS

RUNS = 100
STEPS_EACH = 10


@DBOS.step()
async def async_step(i: int) -> int:
    return i


@DBOS.workflow()
async def async_steps(n: int) -> int:
    for i in range(n):
        await async_step(i)
    return n


@DBOS.step()
def sync_step(i: int) -> int:
    return i


@DBOS.workflow()
def sync_steps(n: int) -> int:
    for i in range(n):
        sync_step(i)
    return n


async def measure_async(n: int) -> tuple[float, float]:
    await async_steps(20)
    began = time.perf_counter()
    await async_steps(n)
    middle = time.perf_counter()
    await asyncio.gather(*(async_steps(STEPS_EACH) for _ in range(RUNS)))
    return n / (middle - began), RUNS * STEPS_EACH / (time.perf_counter() - middle)


def measure_sync(n: int) -> tuple[float, float]:
    sync_steps(20)
    began = time.perf_counter()
    sync_steps(n)
    middle = time.perf_counter()
    for handle in [DBOS.start_workflow(sync_steps, STEPS_EACH) for _ in range(RUNS)]:
        handle.get_result()
    return n / (middle - began), RUNS * STEPS_EACH / (time.perf_counter() - middle)


def main(n: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dbos.sqlite"
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
        url = f"sqlite:///{path}"
        DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR", "run_admin_server": False})
        DBOS.launch()
        found = [measure_sync(n), asyncio.run(measure_async(n))]
        DBOS.destroy()
    print(json.dumps({"sequential": max(a for a, _ in found), "concurrent": max(b for _, b in found)}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
