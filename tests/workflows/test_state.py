"""What workflows keep by name: for a run, a session, a user."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stepwell.engine import StartOptions
from stepwell.model import Run, RunStatus
from stepwell_server import Session
from support.outside import Outside


async def run_source(home: Path, source: str, /, **inputs: object) -> Run:
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flow", source)
        return await session.run("flow", **inputs)


def output_of(run: Run) -> Any:
    assert run.status is RunStatus.COMPLETED, run.error
    return run.output


def kept(home: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(home / "stepwell.db")) as connection, connection:
        return connection.execute("SELECT scope, key FROM state ORDER BY scope, key").fetchall()


ALL_FORMS = """
{definition}
    ctx.state.set("a", {"x": 1})
    {wait}ctx.state.set("b", (1, 2))
    got = [{wait}ctx.state.get("a"), {wait}ctx.state.get("b"), {wait}ctx.state.get("c"), {wait}ctx.state.get("c", 5)]
    got.append({wait}ctx.state.keys())
    ctx.state.delete("a")
    {wait}ctx.state.delete("never there")
    got.append({wait}ctx.state.keys())
    got.append({wait}ctx.state.update("n", lambda n: n + 1, 10))
    got.append({wait}ctx.state.update("n", lambda n: n + 1, 10))
    ctx.state.clear()
    got.append({wait}ctx.state.keys())
    return got
"""


@pytest.mark.row("A20", "A22")
@pytest.mark.parametrize(("definition", "wait"), [("async def run(ctx):", "await "), ("def run(ctx):", "")])
@pytest.mark.asyncio
async def test_values_are_kept_read_replaced_and_forgotten(home: Path, definition: str, wait: str):
    source = ALL_FORMS.replace("{definition}", definition).replace("{wait}", wait)

    run = await run_source(home, source)

    assert output_of(run) == [{"x": 1}, [1, 2], None, 5, ["a", "b"], ["b"], 11, 12, []]
    assert kept(home) == []


TYPED = """
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

@dataclass
class Order:
    total: Decimal

async def run(ctx):
    value = {"order": Order(Decimal("1.10")), "days": {date(2026, 1, 2)}, 3: b"x"}
    ctx.state.set("k", value)
    ctx.session.state.set("k", value)
    own, shared = await ctx.state.get("k"), await ctx.session.state.get("k")
    await ctx.wait_for_user("?")
    again = await ctx.state.get("k")
    return [own == value, again == value, shared == {**value, "order": {"total": Decimal("1.10")}}, ctx.attempt]
"""


@pytest.mark.row("A20")
@pytest.mark.asyncio
async def test_values_keep_their_types_and_last_over_a_pause(home: Path):
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flow", TYPED)
        run = await session.run("flow")
        run = await session.wait(await session.answer(run, "on"))

    assert output_of(run) == [True, True, True, 2]


@pytest.mark.row("A20")
@pytest.mark.asyncio
async def test_the_state_of_a_run_outlives_its_failure_and_ends_with_its_success(home: Path, outside: Outside):
    source = (
        "import json\n"
        "async def run(ctx, base: str):\n"
        "    seen = await ctx.state.get('seen', 'default')\n"
        "    ctx.state.set('seen', 'kept')\n"
        "    count = json.loads(await ctx.step(tools.fetch, url=base + '/read/x'))['count']\n"
        "    def check():\n"
        "        if ctx.attempt == 1 and count == 1:\n            raise RuntimeError('busy')\n"
        "    await ctx.step(check)\n"
        "    return [seen, await ctx.state.get('seen')]\n"
    )
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flow", source)
        failed = await session.run("flow", base=outside.url)
        assert failed.status is RunStatus.FAILED
        assert kept(home) == [("run", "seen")]
        resumed = await session.wait(await session.resume(failed))
        other = await session.run("flow", base=outside.url)

    assert output_of(resumed) == ["default", "kept"]
    assert output_of(other) == ["default", "kept"]
    assert kept(home) == []


COUNTER = """
async def run(ctx, label: str = "none"):
    runs = await ctx.session.state.get("runs", 0)
    ctx.session.state.set("runs", runs + 1)
    total = None if ctx.user is None else await ctx.user.state.update("runs", lambda n: n + 1, 0)
    return [runs + 1, total, ctx.session_id, ctx.user_id, label]
"""


@pytest.mark.row("A21", "A22", "A23")
@pytest.mark.asyncio
async def test_sessions_and_users_have_their_own_values_and_are_no_inputs(home: Path):
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flow", COUNTER)
        given: list[dict[str, Any]] = [
            {"session_id": "s1", "user_id": "u1"}, {"session_id": "s1", "user_id": "u1"},
            {"session_id": "s2", "user_id": "u1"}, {"session_id": "s1", "user_id": "u2"}, {}, {},
        ]  # fmt: skip
        outputs: list[Any] = []
        for ids in given:
            run = await session.app.engine.start("flow", {}, StartOptions(**ids))
            outputs.append(output_of(await session.wait(run)))

    assert outputs == [
        [1, 1, "s1", "u1", "none"], [2, 2, "s1", "u1", "none"], [1, 3, "s2", "u1", "none"],
        [3, 1, "s1", "u2", "none"], [1, None, None, None, "none"], [1, None, None, None, "none"],
    ]  # fmt: skip


@pytest.mark.row("A21")
@pytest.mark.parametrize("ids", [{"session_id": "s", "user_id": "u"}, {}])
@pytest.mark.asyncio
async def test_a_child_run_is_in_the_session_of_its_parent(home: Path, ids: dict[str, Any]):
    parent = (
        "async def run(ctx):\n"
        "    ctx.session.state.set('from', 'parent')\n    ctx.state.set('own', 1)\n"
        "    child = await ctx.invoke('child')\n"
        "    return [child, await ctx.session.state.get('back'), await ctx.state.keys()]\n"
    )
    child = (
        "async def run(ctx):\n    ctx.session.state.set('back', 'child')\n"
        "    user = None if ctx.user is None else ctx.user.id\n"
        "    return [await ctx.session.state.get('from'), await ctx.state.keys(), user]\n"
    )
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("child", child)
        await session.add_workflow("flow", parent)
        run = await session.wait(await session.app.engine.start("flow", {}, StartOptions(**ids)))

    assert output_of(run) == [["parent", [], ids.get("user_id")], "child", ["own"]]
    assert kept(home) == ([("session", "back"), ("session", "from")] if ids else [])


INSIDE = """
import json
from stepwell import FunctionContext, function

@function(retries=1, retry_delay=0)
def twice(fn: FunctionContext, base):
    tried = fn.state.update("tried", lambda n: n + 1, 0)
    ctx.session.state.set("newest", tried)
    if tried == 1:
        raise ValueError("again")
    return tried

async def light():
    ctx.state.set("light", True)
    return await ctx.state.get("light")

async def run(base: str):
    tried = await ctx.step(twice, base)
    return [tried, await ctx.session.state.get("newest"), await ctx.step(light)]
"""


@pytest.mark.row("A8", "A20")
@pytest.mark.asyncio
async def test_each_attempt_of_a_step_writes_for_itself(home: Path):
    assert output_of(await run_source(home, INSIDE, base="")) == [2, 2, True]


BESIDE = """
async def run(ctx):
    async def add(n):
        return await ctx.state.update("all", lambda items: [*items, n], [])
    await ctx.parallel(*(add(n) for n in range(8)))
    await ctx.wait_for_user("?")
    return sorted(await ctx.state.get("all"))
"""


@pytest.mark.asyncio
async def test_updates_of_branches_lose_nothing_and_replay(home: Path):
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flow", BESIDE)
        run = await session.run("flow")
        run = await session.wait(await session.answer(run, "on"))

    assert output_of(run) == list(range(8))


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("ctx.state.set('', 1)", "1 to 200 printable"),
        ("ctx.state.set('x' * 201, 1)", "1 to 200 printable"),
        ("ctx.state.set(5, 1)", "1 to 200 printable"),
        ("ctx.state.set('k', print)", "cannot be stored"),
        ("ctx.state.set('k', 'x' * 70_000)", "at most 65,536"),
        ("await ctx.state.get('a\\nb')", "1 to 200 printable"),
        ("await ctx.state.update('k', 5)", "a function of the old value"),
        ("async def add(n): return 1\n    await ctx.state.update('k', add)", "not async"),
        ("for n in range(1001): ctx.state.set(f'k{n}', n)", "has 1000 keys"),
        ("ctx.state.get('k')", "never awaited"),
        ("ctx.user.state.get('k')", "'NoneType'"),
    ],
)
@pytest.mark.asyncio
async def test_what_cannot_be_kept_is_refused_with_the_reason(home: Path, statement: str, words: str):
    run = await run_source(home, f"async def run(ctx):\n    {statement}\n")

    assert run.error is not None
    assert words in run.error.message
