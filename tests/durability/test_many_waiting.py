"""What waits costs nothing: no statement of a working server goes through the runs that wait."""

import asyncio
import sqlite3
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from waiting import make_store

from stepwell.engine import dispatch
from stepwell.errors import NotFound
from stepwell.model import RunStatus
from stepwell.store import monitoring
from stepwell_server import Session

MANY = 5_000
# Of SQLite's machine, in one statement. A page of a list takes a few thousand; to look at each run takes more than that.
MOST_INSTRUCTIONS = 5_000

_statements: dict[str, Any] = {}
_plain_connect = sqlite3.connect


class Noting(sqlite3.Connection):
    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        _statements.setdefault(sql, parameters)
        return super().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any, /) -> sqlite3.Cursor:
        rows = list(parameters)
        if rows:
            _statements.setdefault(sql, rows[0])
        return super().executemany(sql, rows)


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Generator[dict[str, Any], None, None]:
    """What the product asks of SQLite, with the parameters of the first time."""
    _statements.clear()

    def connect(database: Any, **options: Any) -> sqlite3.Connection:
        kind = sqlite3.Connection if database == ":memory:" else Noting
        return _plain_connect(database, factory=kind, **options)

    monkeypatch.setattr(sqlite3, "connect", connect)
    yield _statements
    _statements.clear()


async def work(session: Session) -> None:
    """Do what a server does beside runs that wait."""
    run = await session.wait(await session.start("asks", who="it"))
    assert (await session.answer(run, "yes")).status is RunStatus.COMPLETED
    assert (await session.run("nothing")).status is RunStatus.COMPLETED
    assert (await session.cancel(await session.start("listens", who="it"))).status is RunStatus.CANCELLED
    engine = session.app.engine
    await engine.emit("something else", 1)
    for status in (None, "waiting", "completed"):
        for workflow in (None, "asks", "nothing"):
            page = await engine.list(status=status, workflow=workflow)
            if page.next_cursor:
                await engine.list(status=status, workflow=workflow, cursor=page.next_cursor)
    with pytest.raises(NotFound):
        await engine.get("r-000000000000")
    while not any("FROM workers WHERE boot_id" in sql for sql in _statements):  # noqa: ASYNC110  the store has no event
        await asyncio.sleep(0.05)  # until it has looked after other workers


@pytest.mark.slow
@pytest.mark.asyncio
async def test_no_statement_goes_through_the_runs_that_wait(
    tmp_path: Path, statements: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(monitoring, "MAX_COUNTED", 100)
    monkeypatch.setattr(dispatch, "SWEEP_S", 0.0)
    home = tmp_path / "home"
    await make_store(home, MANY)
    statements.clear()
    async with Session(home) as session:
        await work(session)

    connection = _plain_connect(home / "stepwell.db", isolation_level=None)
    costs = {
        sql: instructions(connection, sql, parameters)
        for sql, parameters in list(statements.items())
        if sql.split()[0].upper() in ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")
    }
    connection.close()

    assert {sql: cost for sql, cost in costs.items() if cost > MOST_INSTRUCTIONS} == {}
    assert len(costs) > 30


def instructions(connection: sqlite3.Connection, sql: str, parameters: Any) -> int:
    """Return how many instructions of its machine SQLite executes for a statement, in hundreds rounded down."""
    count = 0

    def step() -> None:
        nonlocal count
        count += 100

    connection.set_progress_handler(step, 100)
    connection.execute("BEGIN")
    try:
        connection.execute(sql, parameters).fetchall()
    except sqlite3.IntegrityError:
        pass  # it has been carried out before
    finally:
        connection.execute("ROLLBACK")
        connection.set_progress_handler(None, 0)
    return count
