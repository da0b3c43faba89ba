"""A store with many runs that wait: what they cost a server that works on others."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import programs
from figures import Figures, median
from served import Served

from stepwell_server import Session

TOPIC = "waiting runs"
FEW = 10
GOAL_TIMES, GOAL_MB = 2.0, 150.0
REPEATS = 15
SPREAD_S = 90 * 24 * 3600  # the runs were made, and their timers fire, within so many seconds


async def make_store(home: Path, count: int) -> None:
    """Make a home in which `count` runs wait: for a person, a timer, an event."""
    home.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - nothing else runs meanwhile
    # The model for search by meaning takes 100 MB of any server, whatever waits in it; search_speed.py measures it.
    (home / "stepwell.toml").write_text('[search]\nmodel = "none"\n')
    async with Session(home) as session:
        templates: list[str] = []
        await session.add_workflow("nothing", programs.NOTHING)
        for name, source in (("asks", programs.ASKS), ("sleeps", programs.SLEEPS), ("listens", programs.LISTENS)):
            await session.add_workflow(name, source)
            templates.append((await session.wait(await session.start(name, who=name), 5)).id)
    copy_runs(home / "stepwell.db", templates, count - len(templates))


def copy_runs(database: Path, templates: list[str], count: int) -> None:
    """Copy runs with all that belongs to them, in the product's own tables, whatever columns these have."""
    connection = sqlite3.connect(database, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -200000")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TEMP TABLE copies (id TEXT, template TEXT, age REAL)")
        # In the order of their ids: in a random one a million of rows takes minutes.
        connection.execute(
            """INSERT INTO copies
               WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < ?1)
               SELECT 'r-' || lower(hex(randomblob(6))), n % ?2, abs(random() % 1000000) / 1000000.0 * ?3
               FROM counted ORDER BY 1""",
            (count, len(templates), SPREAD_S),
        )
        for n, template in enumerate(templates):
            connection.execute("UPDATE copies SET template = ? WHERE template = ?", (template, n))
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in ["runs", *(name for name in tables if name != "runs")]:
            _copy_rows(connection, table)
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


def _copy_rows(connection: sqlite3.Connection, table: str) -> None:
    columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    own = "id" if table == "runs" else "run_id"
    if own not in columns or (table == "artifacts"):
        return
    values = {own: "copies.id", "root_id": "copies.id", "created_at": "created_at - age", "wake_at": "wake_at + age"}
    chosen = ", ".join(values.get(column, f"{table}.{column}") for column in columns)
    connection.execute(
        f"INSERT INTO {table} ({', '.join(columns)}) "
        f"SELECT {chosen} FROM copies JOIN {table} ON {table}.{own} = copies.template ORDER BY copies.id"
    )


async def measure_waiting(figures: Figures, folder: Path, many: int) -> None:
    """Measure one server with a few waiting runs and one with many."""
    homes = {FEW: folder / "few", many: folder / "many"}
    for count, home in homes.items():
        began = time.perf_counter()
        await make_store(home, count)
        figures.say(f"made a store with {count:,} waiting runs in {time.perf_counter() - began:.0f} s")
    found: dict[str, list[float]] = {}
    for _ in range(3):  # in turns, since other work on the machine comes and goes
        for count, home in homes.items():
            for name, value in _measure_server(home).items():
                found.setdefault(f"{name}, with {count:,}", []).append(value)
    best = {name: min(values) for name, values in found.items()}
    for name in [name.rpartition(", with ")[0] for name in best if name.endswith(f"with {FEW:,}")]:
        few, lots = best[f"{name}, with {FEW:,}"], best[f"{name}, with {many:,}"]
        if name == "memory of the server, which searches by words":
            figures.add(TOPIC, f"{name}, with {FEW:,}", few, "MB")
            figures.at_most(TOPIC, f"{name}, with {many:,}", lots, "MB", GOAL_MB)
            continue
        figures.add(TOPIC, f"{name}, with {FEW:,}", few, "ms")
        figures.add(TOPIC, f"{name}, with {many:,}", lots, "ms")
        figures.at_most(TOPIC, f"{name}, {many:,} against {FEW:,}", lots / few, "times", GOAL_TIMES)


def _measure_server(home: Path) -> dict[str, float]:
    with Served(home) as server:
        found = {"start of a server, to its first answer": server.first_answer_ms}
        asking = [server.call("invoke_workflow", name="asks", arguments={"who": "it"}) for _ in range(REPEATS)]
        ids = iter(run["run_id"] for run in asking)
        found |= {
            "first page of list_runs": _times(lambda: server.call("list_runs")),
            "list_runs(status='waiting')": _times(lambda: server.call("list_runs", status="waiting")),
            "get_run of an id that is not there": _times(lambda: _refused(server)),
            "start and finish a run": _times(lambda: _completed(server.call("invoke_workflow", name="nothing"))),
            "answer a run, which wakes and finishes": _times(lambda: _woken(server, next(ids))),
            "memory of the server, which searches by words": server.rss_mb(),
        }
    return found


def _times(work: Callable[[], object]) -> float:
    times: list[float] = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        work()
        times.append((time.perf_counter() - began) * 1000)
    return median(times)


def _completed(run: dict[str, object]) -> None:
    if run["status"] != "completed":
        raise RuntimeError(f"the run did not complete: {run}")


def _woken(server: Served, run_id: str) -> None:
    server.call("approve_run", run_id=run_id, decision="answer", value="yes")
    _completed(server.call("get_run", run_id=run_id, wait_seconds=20))


def _refused(server: Served) -> None:
    try:
        server.call("get_run", run_id="r-000000000000")
    except RuntimeError:
        return
    raise RuntimeError("a run was found that is not there")
