"""How many calls of a tool go out at one time and in a span of time; what is noted of each."""

import asyncio
import time
from pathlib import Path

import pytest

from stepwell.model import RunStatus
from stepwell.tools.throttle import CallLimit, Throttle
from stepwell_server import Session
from support.outside import Outside
from support.server import LOCAL_HTTP, make_home

pytestmark = pytest.mark.asyncio


async def test_at_most_so_many_at_one_time_over_all_tools_of_a_pattern() -> None:
    throttle = Throttle({"shop.*": CallLimit(concurrency=2), "shop.pay": CallLimit(concurrency=1)})
    now: list[str] = []
    most: dict[str, int] = {}

    async def call(name: str) -> None:
        async with throttle.turn(name):
            now.append(name)
            for group in ("shop", name):
                most[group] = max(most.get(group, 0), sum(item.startswith(group) for item in now))
            await asyncio.sleep(0)
            now.remove(name)

    await asyncio.gather(*(call(name) for name in ["shop.pay", "shop.list"] * 10))
    assert (most["shop"], most["shop.pay"]) == (2, 1)


async def test_in_a_span_no_more_begin_than_may_also_after_some_were_cancelled() -> None:
    throttle = Throttle({"*": CallLimit(calls=3, span_s=0.2)})
    begun: list[float] = []

    async def call() -> None:
        async with throttle.turn("any"):
            begun.append(time.monotonic())

    late = [asyncio.create_task(call()) for _ in range(9)]
    for task in late[6:]:
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    assert len(begun) == 6
    assert all(after - before >= 0.19 for before, after in zip(begun, begun[3:], strict=False))


async def test_a_call_that_waits_for_its_turn_was_not_sent(tmp_path: Path, outside: Outside) -> None:
    home = make_home(tmp_path / "home", LOCAL_HTTP + '[policy]\nlimits = {"http.*" = {concurrency = 1}}\n')
    source = (
        "async def run(ctx, base: str):\n    send = lambda n: ctx.step(n, tools.http.request, method='POST',"
        " url=f'{base}/hold/{n}')\n    await ctx.parallel(send('a'), send('b'))\n"
    )
    async with Session(home) as session:
        await session.add_workflow("send", source)
        run = await session.start("send", base=outside.url)
        await asyncio.to_thread(outside.wait_for_effect, "a")
        await session.cancel(run)
        assert outside.effects == {"a": 1}
        outside.release()
        run = await session.wait(await session.resume(run))
    # The one that was sent is in doubt; the other had never left, and is made now.
    assert [(wait.kind, wait.context["arguments"]["url"][-1]) for wait in run.waiting_for] == [("in_doubt", "a")]
    assert outside.effects == {"a": 1, "b": 1}


async def test_the_timeline_has_the_duration_and_size_of_each_call(home: Path, outside: Outside) -> None:
    source = "def run(base: str):\n    return tools.fetch(url=base)\n"
    async with Session(home) as session:
        await session.add_workflow("load", source)
        run = await session.run("load", base=f"{outside.url}/page/a")
        [done] = [event.data for event in await session.timeline(run) if event.type == "call.completed"]
    assert run.status is RunStatus.COMPLETED
    assert 0 < done["seconds"] < 60
    assert done["bytes"] > len(run.output)
