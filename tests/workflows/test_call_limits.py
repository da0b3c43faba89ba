"""How many calls of a tool go out at one time and in a span of time, from all processes; what is noted of each."""

import asyncio
import os
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from stepwell.engine.throttle import Throttle
from stepwell.model import RunStatus
from stepwell.ports import CallLimit
from stepwell.store import workers
from stepwell.store.database import Database, open_database
from stepwell_server import Session
from support.outside import Outside
from support.server import LOCAL_HTTP, Server, call, make_home

pytestmark = pytest.mark.asyncio

T = TypeVar("T")
ONE = {"shop.*": CallLimit(concurrency=1)}


class Counting:
    """A store that counts what is asked of it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.reads = self.writes = 0

    async def read(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        self.reads += 1
        return await self._database.read(fn)

    async def write(self, fn: Callable[[sqlite3.Connection], T]) -> T:
        self.writes += 1
        return await self._database.write(fn)


@asynccontextmanager
async def processes(home: Path, count: int = 1) -> AsyncGenerator[list[tuple[Throttle, Counting]], None]:
    """The same as so many processes have: a connection and a worker's row each."""
    made: list[tuple[Throttle, Counting]] = []
    async with AsyncExitStack() as stack:
        for n in range(count):
            database = await stack.enter_async_context(open_database(home / "stepwell.db"))
            owner = f"w-{n}"
            await database.write(lambda c, owner=owner: workers.beat(c, owner, os.getpid(), "boot", 1e12, 0.0, {}))
            store = Counting(database)
            throttle = Throttle(store, owner)  # pyright: ignore[reportArgumentType]
            stack.push_async_callback(throttle.close)
            made.append((throttle, store))
        yield made


async def until(home: Path, sql: str, expected: int) -> None:
    """Wait until the store tells that so many stand in line, or are under way."""
    connection = sqlite3.connect(home / "stepwell.db")
    async with asyncio.timeout(60):
        while connection.execute(sql).fetchone()[0] != expected:  # noqa: ASYNC110  another process changes it
            await asyncio.sleep(0.02)
    connection.close()


async def test_at_most_so_many_at_one_time_over_all_tools_of_a_pattern_and_processes(tmp_path: Path) -> None:
    limits = {"shop.*": CallLimit(concurrency=2), "shop.pay": CallLimit(concurrency=1)}
    now: list[str] = []
    most: dict[str, int] = {}

    async def make(throttle: Throttle, name: str) -> None:
        counted = limits if name == "shop.pay" else {"shop.*": limits["shop.*"]}
        async with throttle.turn(counted):
            now.append(name)
            for group in ("shop", name):
                most[group] = max(most.get(group, 0), sum(item.startswith(group) for item in now))
            await asyncio.sleep(0)
            now.remove(name)

    async with processes(tmp_path, 2) as both:
        names = ["shop.pay", "shop.list"] * 4
        await asyncio.gather(*(make(throttle, name) for throttle, _ in both for name in names))
        together = asyncio.Barrier(2)

        async def meet(throttle: Throttle) -> None:
            async with throttle.turn({"shop.*": limits["shop.*"]}):
                await together.wait()

        async with asyncio.timeout(60):
            await asyncio.gather(*(meet(throttle) for throttle, _ in both))
    assert most["shop.pay"] == 1
    assert most["shop"] <= 2


async def test_processes_take_turns_and_who_waits_writes_nothing(tmp_path: Path) -> None:
    order: list[str] = []
    async with processes(tmp_path, 2) as ((one, _), (two, second)):

        async def make(throttle: Throttle, name: str) -> None:
            async with throttle.turn(ONE):
                order.append(name)

        async with one.turn(ONE):
            waiting = [asyncio.create_task(make(one, f"one {n}")) for n in range(6)]
            await until(tmp_path, "SELECT count(*) FROM call_turns", 2)
            waiting += [asyncio.create_task(make(two, "two"))]
            await until(tmp_path, "SELECT count(*) FROM call_turns", 3)
            looked = second.reads
            while second.reads < looked + 3:  # noqa: ASYNC110  it polls, without the write lock
                await asyncio.sleep(0.02)
            assert second.writes == 1
            assert order == []
        await asyncio.gather(*waiting)
        await until(tmp_path, "SELECT count(*) FROM call_turns", 0)
    # All six of the one process were there before that of the other.
    assert order.index("two") == 1
    assert sorted(order) == [*(f"one {n}" for n in range(6)), "two"]


async def test_in_a_span_no_more_begin_than_may_also_after_some_were_cancelled(tmp_path: Path) -> None:
    rate = {"*": CallLimit(calls=3, span_s=0.2)}
    begun: list[float] = []

    async with processes(tmp_path, 2) as both:

        async def make(throttle: Throttle) -> None:
            async with throttle.turn(rate):
                begun.append(time.time())

        late = [asyncio.create_task(make(both[n % 2][0])) for n in range(9)]
        for task in late[6:]:
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        await until(tmp_path, "SELECT count(*) FROM call_turns", 0)
        await until(tmp_path, "SELECT count(*) FROM call_begins", 3)  # what counts, and no more
    assert len(begun) == 6


async def test_turns_of_a_process_that_is_gone_come_back_and_one_taken_for_dead_lines_up_again(tmp_path: Path) -> None:
    async with processes(tmp_path, 2) as ((one, first), (two, _)):
        held = one.turn(ONE)
        await held.__aenter__()
        waiting = asyncio.create_task(two.turn(ONE).__aenter__())
        await until(tmp_path, "SELECT count(*) FROM call_turns", 2)
        await first.write(lambda c: workers.bury(c, "w-1", 0.0))  # two was stopped for a while
        await first.write(lambda c: workers.beat(c, "w-1", 1, "boot", 1e12, 0.0, {}))
        await until(tmp_path, "SELECT count(*) FROM call_turns WHERE owner = 'w-1'", 1)
        assert not waiting.done()
        await first.write(lambda c: workers.bury(c, "w-0", 0.0))
        async with asyncio.timeout(60):
            await waiting


@pytest.mark.slow
async def test_limits_hold_over_two_servers_and_a_killed_ones_turn_comes_back(tmp_path: Path, outside: Outside) -> None:
    home = make_home(tmp_path / "home", LOCAL_HTTP + '[policy]\nlimits = {"http.*" = {concurrency = 1}}\n')
    source = (
        "def run(base: str, name: str):\n"
        "    return tools.http.request(method='POST', url=f'{base}/hold/{name}')['json']['count']\n"
    )
    servers = [Server(home), Server(home)]
    for server in servers:
        server.start()
    async with servers[1].client() as second:
        async with servers[0].client() as first:
            await call(first, "create_workflow", name="send", source=source)
            await call(first, "run_workflow", name="send", arguments={"base": outside.url, "name": "a"})
            await asyncio.to_thread(outside.wait_for_effect, "a")
        run = await call(second, "run_workflow", name="send", arguments={"base": outside.url, "name": "b"})
        await until(home, "SELECT count(DISTINCT owner) FROM call_turns", 2)
        await until(home, "SELECT count(*) FROM call_turns WHERE held = 1", 1)
        assert outside.effects == {"a": 1}
        servers[0].kill()
        await asyncio.to_thread(outside.wait_for_effect, "b")
        outside.release()
        run = await call(second, "get_run", run_id=run["run_id"], wait_seconds=30)
    assert servers[1].stop() == 0
    assert (run["status"], run["output"]) == ("completed", 1)
    assert outside.effects == {"a": 1, "b": 1}


async def test_a_call_that_waits_for_its_turn_was_not_sent(tmp_path: Path, outside: Outside) -> None:
    home = make_home(tmp_path / "home", LOCAL_HTTP + '[policy]\nlimits = {"http.*" = {concurrency = 1}}\n')
    source = (
        "async def run(ctx, base: str):\n    send = lambda n: ctx.step(n, tools.http.request, method='POST',"
        " url=f'{base}/hold/one')\n    await ctx.parallel(send('a'), send('b'))\n"
    )
    async with Session(home) as session:
        await session.add_workflow("send", source)
        run = await session.start("send", base=outside.url)
        await asyncio.to_thread(outside.wait_for_effect, "one")
        await session.cancel(run)
        assert outside.effects == {"one": 1}
        outside.release()
        run = await session.wait(await session.resume(run))
    # The one that was sent is in doubt; the other had never left, and is made now.
    assert [wait.kind for wait in run.waiting_for] == ["in_doubt"]
    assert outside.effects == {"one": 2}


async def test_the_timeline_has_the_duration_and_size_of_each_call(home: Path, outside: Outside) -> None:
    source = "def run(base: str):\n    return tools.fetch(url=base)\n"
    async with Session(home) as session:
        await session.add_workflow("load", source)
        run = await session.run("load", base=f"{outside.url}/page/a")
        [done] = [event.data for event in await session.timeline(run) if event.type == "call.completed"]
    assert run.status is RunStatus.COMPLETED
    assert 0 < done["seconds"] < 60
    assert done["bytes"] > len(run.output)
