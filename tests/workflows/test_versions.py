"""A failed run goes on with a version that is mended; a recorded run is a test of a version."""

from pathlib import Path

import pytest

from stepwell.errors import Conflict, InvalidArguments, NotFound
from stepwell.model import RunStatus
from stepwell_server import Session
from support.outside import Outside

FIRST = """
import json

async def run(ctx, base: str, amount: int = 5):
    found = json.loads(await ctx.step("look", tools.fetch, url=base + "/look"))
    paid = json.loads(tools.curl.post(url=base + "/effect/pay", json={"amount": amount}))
    await ctx.step("check", lambda: 1 / (paid["count"] - 1))
    return [found["read"], paid["count"]]
"""
MENDED = FIRST.replace('1 / (paid["count"] - 1)', '1 / paid["count"]')
EARLIER = FIRST.replace("    paid =", "    await ctx.step('new', lambda: 'before')\n    paid =").replace(
    " - 1)", " + 1)"
)
OTHER = MENDED.replace('{"amount": amount}', '{"amount": amount + 1}')
CATCHING = FIRST.replace('    await ctx.step("check"', '    try:\n        await ctx.step("check"').replace(
    "    return", "    except ZeroDivisionError:\n        return 'caught'\n    return"
)
BROKEN = MENDED.replace('found["read"], paid', "nothing, paid").replace("    found =", "    missing()\n    found =")


async def failed(session: Session, outside: Outside, **inputs: object) -> str:
    await session.add_workflow("flow", FIRST)
    run = await session.run("flow", base=outside.url, **inputs)  # pyright: ignore[reportArgumentType]
    assert run.status is RunStatus.FAILED
    assert outside.effects == {"pay": 1}
    return run.id


async def mend(session: Session, source: str) -> str:
    return (await session.add_workflow("flow", source, replace=True)).workflow.version.hash


@pytest.mark.asyncio
async def test_a_failed_run_goes_on_with_a_version_that_agrees_with_its_journal(home: Path, outside: Outside):
    async with Session(home) as session:
        run_id = await failed(session, outside)
        version = await mend(session, MENDED)
        run = await session.resume(run_id, version=version[:10])

        assert run.status is RunStatus.COMPLETED
        assert (run.id, run.version, run.output) == (run_id, version, ["look", 1])
        assert outside.effects == {"pay": 1}
        assert outside.reads == {"look": 1}


@pytest.mark.asyncio
async def test_effects_beyond_the_cut_need_a_decision_and_change_nothing_until_then(home: Path, outside: Outside):
    async with Session(home) as session:
        run_id = await failed(session, outside)
        await mend(session, OTHER)
        with pytest.raises(Conflict, match=r"1 effect that happened: curl\.post") as refused:
            await session.resume(run_id, version="current")
        assert "decision='value'" in refused.value.hint
        assert (await session.get(run_id)).status is RunStatus.FAILED

        run = await session.resume(run_id, "retry", version="current")

        assert run.status is RunStatus.COMPLETED
        assert outside.effects == {"pay": 2}
        assert [body for body in outside.bodies if "6" in body]
        changed = next(e for e in await session.timeline(run) if e.type == "run.version")
        assert changed.data["effects"]


@pytest.mark.asyncio
async def test_a_call_whose_answer_was_of_no_use_is_an_effect_beyond_the_cut(home: Path):
    (home / "own.py").write_text(
        "from stepwell.host_tools import tool\n@tool\ndef count() -> dict[str, int]:\n    return {'n': 'many'}\n"
    )
    with (home / "stepwell.toml").open("a") as config:
        config.write('\n[python.own]\nfile = "own.py"\n')
    async with Session(home) as session:
        await session.add_workflow(
            "flow",
            "from stepwell import ToolError\ndef run():\n    try: tools.own.count()\n    except ToolError: pass\n    return 1 / 0",
        )
        run = await session.run("flow")
        assert run.error is not None
        assert run.error.type == "ZeroDivisionError"
        await mend(session, "def run(): return 'without it'")
        with pytest.raises(Conflict, match=r"1 effect that happened: own\.count at 'own\.count' \{\}$"):
            await session.resume(run, version="current")
        run = await session.resume(run, "value", version="current")

    assert run.output == "without it"


@pytest.mark.parametrize(("decision", "paid"), [("value", 1), ("retry", 2)])
@pytest.mark.asyncio
async def test_a_call_that_is_only_made_later_uses_its_result_or_is_made_again(
    home: Path, outside: Outside, decision: str, paid: int
):
    moved = MENDED.replace("    paid =", "    async with ctx.step('inside'):\n        paid =")
    async with Session(home) as session:
        run_id = await failed(session, outside)
        await mend(session, moved)
        run = await session.resume(run_id, decision, version="current")  # pyright: ignore[reportArgumentType]

        assert run.error is None
        assert outside.effects == {"pay": paid}
        assert run.output == ["look", paid]
        reused = [e.data["from"] for e in await session.timeline(run) if e.type == "call.reused"]
        assert reused == (["!cut1/curl.post"] if decision == "value" else [])


@pytest.mark.asyncio
async def test_what_does_not_fit_is_refused_and_the_run_stays_as_it_was(home: Path, outside: Outside):
    async with Session(home) as session:
        run_id = await failed(session, outside)
        before = await session.timeline(run_id)
        await mend(session, BROKEN)
        with pytest.raises(Conflict, match=r"fails on what is recorded .*NameError.*line 4"):
            await session.resume(run_id, version="current")
        await mend(session, MENDED.replace("amount: int = 5", "amount: str"))
        with pytest.raises(InvalidArguments, match="do not fit version"):
            await session.resume(run_id, version="current")
        with pytest.raises(NotFound):
            await session.resume(run_id, version="0000000000")

        assert await session.timeline(run_id) == before
        run = await session.resume(run_id)
        assert run.status is RunStatus.FAILED
        assert run.error is not None
        assert run.error.type == "ZeroDivisionError"


@pytest.mark.asyncio
async def test_a_child_beyond_the_cut_is_another_run_and_one_before_it_stays(home: Path, outside: Outside):
    child = "def run(base: str, n: int):\n    return [n, tools.curl.post(url=f'{base}/effect/child{n}', json={})]\n"
    parent = (
        "def run(base: str):\n    a = workflows.child(base=base, n=1)\n    b = workflows.child(base=base, n=2)\n"
        "    raise ValueError('end')\n"
    )
    async with Session(home) as session:
        await session.add_workflow("child", child)
        await session.add_workflow("parent", parent)
        run = await session.run("parent", base=outside.url)
        assert outside.effects == {"child1": 1, "child2": 1}
        await session.add_workflow(
            "parent", parent.replace("n=2", "n=3").replace("raise ValueError('end')", "return [a, b]"), replace=True
        )
        run = await session.resume(run, "retry", version="current")

        assert run.error is None
        assert [item[0] for item in run.output] == [1, 3]
        assert outside.effects == {"child1": 1, "child2": 1, "child3": 1}


@pytest.mark.asyncio
async def test_a_recorded_run_is_a_test_of_a_version(home: Path, outside: Outside):
    async with Session(home) as session:
        run_id = await failed(session, outside)
        compare = session.compare
        same = await compare(run_id)
        assert same.difference is None
        assert same.replayed == 3

        # What the mended step would do is not run; its failure is recorded.
        assert (await compare(run_id, source=MENDED)).difference is None
        ends = (await compare(run_id, source=CATCHING)).difference
        assert ends is not None
        assert ends.recorded == "the end: ZeroDivisionError: division by zero"
        assert ends.found == 'the end: returned "caught"'
        other = (await compare(run_id, source=OTHER)).difference
        assert other is not None
        assert (other.key, other.line) == ("curl.post", 5)
        assert other.recorded.startswith("tool:curl.post:")
        assert other.recorded != other.found
        earlier = (await compare(run_id, source=EARLIER)).difference
        assert earlier is not None
        assert (earlier.key, earlier.found, earlier.line) == ("curl.post", "step:new at 'new'", 5)
        broken = (await compare(run_id, source=BROKEN)).difference
        assert broken is not None
        assert "NameError" in broken.found

        assert outside.effects == {"pay": 1}
        assert outside.reads == {"look": 1}


@pytest.mark.asyncio
async def test_runs_that_wait_or_were_stopped_agree_with_what_they_would_do_next(home: Path):
    source = "async def run(ctx):\n    await ctx.step('a', lambda: 1)\n    return await ctx.wait_for_user('?')\n"
    other = source.replace("'?'", "'!'")
    longer = source.replace("return await", "await ctx.step('b', lambda: 1)\n    return await")
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow")
        for status in (RunStatus.WAITING, RunStatus.CANCELLED):
            assert run.status is status
            assert (await session.compare(run)).difference is None
            asks = (await session.compare(run, source=other)).difference
            assert asks is not None
            assert asks.key == "wait_for_user"
            run = await session.cancel(run)
        assert (await session.compare(run, source=longer)).difference is None
        assert (await session.get(run)).status is RunStatus.CANCELLED


@pytest.mark.asyncio
async def test_branches_that_agree_are_kept_where_another_one_leaves(home: Path, outside: Outside):
    source = (
        "async def pay(ctx, base, n, **more):\n"
        "    for i in range(3):\n        await ctx.step(f'pay{n}', tools.curl.post, url=f'{base}/effect/{n}{i}', json=more)\n"
        "async def run(ctx, base: str):\n"
        "    await ctx.parallel(pay(ctx, base, 'a'), pay(ctx, base, 'b'))\n    raise ValueError('end')\n"
    )
    mended = source.replace("'b')", "'b', x=1)").replace("raise ValueError('end')", "return 1")
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow", base=outside.url)
        await mend(session, mended)
        run = await session.resume(run, "retry", version="current")

        assert run.error is None
        again = {name for name, count in outside.effects.items() if count > 1}
        assert "b0" in again
        assert "a0" not in again
