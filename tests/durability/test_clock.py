"""A step that was interrupted runs again to the same calls, though it reads the clock and draws numbers."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from stepwell_server import Session
from support.outside import Outside
from support.server import Server, at_rest, call, make_home

READS = """
import datetime, random, secrets, time, uuid

def read():
    return [time.time(), time.time_ns(), str(uuid.uuid4()), str(uuid.uuid1()), random.random(), secrets.token_hex(4),
            datetime.datetime.now().isoformat(), datetime.date.today().isoformat(), time.strftime("%H:%M:%S"),
            random.Random().random(), random.SystemRandom().randrange(10**9), ctx.now().isoformat(), str(ctx.uuid())]
"""
PAY = (
    READS
    + """
def inner(base, told):
    tools.curl.post(url=f"{base}/effect/inner", json={"told": told, "read": read()})
    return read()

def pay(base):
    tools.curl.post(url=f"{base}/effect/first", json={"read": read()})
    tools.curl.post(url=f"{base}/effect/second", json={"read": read()})
    beside = ctx.parallel(lambda: inner(base, read()), lambda: [random.random() for _ in range(3)])
    mapped = ctx.map(inner, [{"base": base, "told": n} for n in range(1)])
    tools.curl.post(url=f"{base}/effect/third", json={"read": [read(), beside, mapped]})
    tools.fetch(url=base + "/gate/end")
    return read()

async def run(ctx, base: str):
    return await ctx.step(pay, base)
"""
)


@pytest.mark.slow
@pytest.mark.asyncio
async def test_a_step_killed_after_its_effects_does_not_repeat_them(server: Server, outside: Outside):
    async with server.client() as client:
        await call(client, "create_workflow", name="pay", source=PAY)
        run = await call(client, "run_workflow", name="pay", arguments={"base": outside.url})
    outside.wait_for_read("end")

    server.kill()
    outside.open_gate("end")
    server.start()
    async with server.client() as client:
        ended = await at_rest(client, run["run_id"], include=["journal"])

    assert ended["status"] == "completed", ended
    assert outside.effects == {"first": 1, "second": 1, "inner": 2, "third": 1}
    drawn = [json.dumps(json.loads(body)["read"]) for body in outside.bodies]
    assert len(set(drawn)) == 5
    assert "readings" not in {entry["kind"] for entry in ended["journal"]}


@pytest.mark.asyncio
async def test_what_was_read_is_forgotten_with_the_attempt(tmp_path: Path, outside: Outside):
    outside.open_gate("end")
    home = make_home(tmp_path / "home")
    async with Session(home) as session:
        await session.add_workflow("pay", PAY)
        run = await session.run("pay", base=outside.url)
        assert run.error is None, run.error
    with closing(sqlite3.connect(home / "stepwell.db")) as connection, connection:
        kinds = {kind for (kind,) in connection.execute("SELECT kind FROM journal")}
    assert kinds == {"tool", "step"}


@pytest.mark.asyncio
async def test_each_attempt_of_a_step_draws_other_numbers(tmp_path: Path, outside: Outside):
    source = READS + (
        "from stepwell import FunctionContext\n\n"
        "def flaky(fn: FunctionContext, base):\n    tools.curl.post(url=base + '/effect/try', json={'read': read()})\n"
        "    if fn.attempt == 0:\n        raise ValueError('again')\n\n"
        "def run(ctx, base):\n    ctx.step(flaky, base, retries=1, retry_delay=0)\n"
    )
    async with Session(make_home(tmp_path / "home")) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow", base=outside.url)

    assert run.error is None, run.error
    first, second = (json.loads(body)["read"] for body in outside.bodies)
    assert not set(map(str, first[2:6])) & set(map(str, second[2:6]))
