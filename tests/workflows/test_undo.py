"""What a run has done is undone when it does not complete, if its steps say how."""

import asyncio
from pathlib import Path

import pytest

from stepwell.errors import Conflict
from stepwell.model import RunStatus
from stepwell_server import Session
from support.outside import Outside

SAGA = """
import json

async def run(ctx, base: str, end: str):
    def book(what):
        return json.loads(tools.curl.post(url=f"{base}/effect/book-{what}", json={}))
    def cancel(booked):
        tools.curl.post(url=f"{base}/effect/cancel-{booked['effect']}", json={})
    flight, hotel = await ctx.parallel(
        ctx.step("flight", book, "flight", undo=cancel), ctx.step("hotel", book, "hotel", undo=cancel)
    )
    async with ctx.step("car", undo=cancel) as car:
        car.value = json.loads(tools.curl.post(url=f"{base}/effect/book-car", json={}))
    await ctx.step("note", book, "note")
    if end == "fail":
        raise ValueError("no visa")
    if end == "reject":
        await ctx.approve("pay?")
    if end == "stop":
        return ctx.terminate("enough")
    if end == "compute":
        while True:
            pass
    await ctx.wait_for_user("go on?")
    return "done"
"""
BLOCKING = SAGA.replace("async def", "def").replace("async with", "with").replace("await ", "")
BOOKED = {"book-flight": 1, "book-hotel": 1, "book-car": 1, "book-note": 1}
CANCELLED = {"cancel-book-flight": 1, "cancel-book-hotel": 1, "cancel-book-car": 1}


async def undone(session: Session, run_id: str) -> list[str]:
    names = [e.data["step"] for e in await session.timeline(run_id) if e.type == "step.completed"]
    return [name for name in names if name.startswith("undo")]


@pytest.mark.parametrize("source", [SAGA, BLOCKING], ids=["async", "def"])
@pytest.mark.asyncio
async def test_a_run_that_fails_is_undone_newest_first_and_stays_failed(home: Path, outside: Outside, source: str):
    async with Session(home) as session:
        await session.add_workflow("trip", source)
        run = await session.run("trip", base=outside.url, end="fail")

        assert run.status is RunStatus.FAILED
        assert run.error is not None
        assert run.error.message == "no visa"
        assert outside.effects == BOOKED | CANCELLED
        order = await undone(session, run.id)
        assert order[0] == "undo car"
        assert sorted(order[1:]) == ["undo flight", "undo hotel"]
        types = [event.type for event in await session.timeline(run)]
        assert types.index("run.unwinding") < types.index("run.undone") < types.index("run.failed")
        with pytest.raises(Conflict, match="was undone"):
            await session.resume(run)


@pytest.mark.parametrize("source", [SAGA, BLOCKING], ids=["async", "def"])
@pytest.mark.asyncio
async def test_a_parked_run_that_is_cancelled_is_undone(home: Path, outside: Outside, source: str):
    async with Session(home) as session:
        await session.add_workflow("trip", source)
        run = await session.run("trip", base=outside.url, end="wait")
        assert run.status is RunStatus.WAITING
        run = await session.wait(await session.cancel(run, "the weather"))

        assert run.status is RunStatus.CANCELLED
        assert run.waiting_for == ()
        assert outside.effects == BOOKED | CANCELLED


@pytest.mark.parametrize("source", [SAGA, BLOCKING], ids=["async", "def"])
@pytest.mark.asyncio
async def test_a_run_that_computes_for_ever_is_stopped_and_undone(home: Path, outside: Outside, source: str):
    async with Session(home) as session:
        await session.add_workflow("trip", source)
        run = await session.start("trip", base=outside.url, end="compute")
        await asyncio.to_thread(outside.wait_for_effect, "book-note")
        run = await session.wait(await session.cancel(run), 60)

        assert run.status is RunStatus.CANCELLED
        assert outside.effects == BOOKED | CANCELLED


@pytest.mark.asyncio
async def test_a_rejected_run_is_undone_and_a_terminated_one_is_not(home: Path, outside: Outside):
    async with Session(home) as session:
        await session.add_workflow("trip", SAGA)
        run = await session.run("trip", base=outside.url, end="reject")
        run = await session.wait(await session.reject(run, "too dear"))
        assert run.status is RunStatus.REJECTED
        assert outside.effects == BOOKED | CANCELLED

        outside.effects.clear()
        run = await session.run("trip", base=outside.url, end="stop")
        assert run.status is RunStatus.TERMINATED
        assert outside.effects == BOOKED


@pytest.mark.asyncio
async def test_what_cannot_be_undone_is_said_and_the_rest_is_undone(home: Path, outside: Outside):
    source = (
        "def broken(got):\n    raise OSError('no line')\n\n"
        "async def run(ctx, base: str):\n"
        "    await ctx.step('one', lambda: 1, undo=lambda: tools.curl.post(url=base + '/effect/one', json={}))\n"
        "    await ctx.step('two', lambda: 2, undo=broken, retries=1, retry_delay=0.01)\n"
        "    await ctx.step('three', lambda: 3, undo=lambda n: tools.curl.post(url=f'{base}/effect/{n}', json={}))\n"
        "    raise KeyError('end')\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow", base=outside.url)

        assert run.error is not None
        assert run.error.type == "KeyError"
        assert outside.effects == {"one": 1, "3": 1}
        events = await session.timeline(run)
        assert [e.data["attempt"] for e in events if e.data.get("step") == "undo two" and e.type == "step.failed"] == [
            1,
            2,
        ]
        assert next(e for e in events if e.type == "run.undone").data == {"failed": 1}


@pytest.mark.asyncio
async def test_an_undo_may_wait_for_a_person_and_a_second_cancel_ends_it(home: Path):
    source = (
        "async def run(ctx):\n"
        "    await ctx.step('one', lambda: 1, undo=lambda: ctx.approve('take back?'))\n"
        "    await ctx.wait_for_user('go on?')\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        first, second = await session.run("flow"), await session.run("flow")
        for started in (first, second):
            run = await session.wait(await session.cancel(started))
            assert run.status is RunStatus.WAITING
            assert [wait.prompt for wait in run.waiting_for] == ["take back?"]
        approved = await session.approve(first)
        assert approved.status is RunStatus.CANCELLED
        assert "undo one" in approved.step_results
        stopped = await session.cancel(second)
        assert stopped.status is RunStatus.CANCELLED
        assert "undo one" not in stopped.step_results


@pytest.mark.asyncio
async def test_a_child_undoes_itself_before_its_parent_goes_on(home: Path, outside: Outside):
    async with Session(home) as session:
        await session.add_workflow("trip", SAGA)
        await session.add_workflow(
            "parent",
            "def run(base: str):\n    try:\n        workflows.trip(base=base, end='fail')\n"
            "    except Exception as error:\n        return [str(error), tools.curl.post(url=base + '/effect/after', json={})]\n",
        )
        run = await session.run("parent", base=outside.url)

        assert run.error is None
        assert "no visa" in run.output[0]
        assert outside.effects == BOOKED | CANCELLED | {"after": 1}


SHAPES = {
    "batch": """
    found = await ctx.batch(book, ["a", "b", "bad"], undo=cancel, max_concurrency=1, name="room: one")
    assert [item.status for item in found.results] == ["completed", "completed", "failed"]
    raise ValueError("bad")""",
    "map": 'await ctx.map(book, ["a", "b", "bad"], undo=cancel, max_concurrency=2)',
    "fan_out": 'await ctx.fan_out(["a", "b", "bad"], book, concurrency=1, undo=cancel)',
    "gather": """
    await ctx.gather(a=ctx.step(book, "a", undo=cancel), b=ctx.step(book, "b", undo=cancel))
    await ctx.parallel(failing)""",
}


@pytest.mark.asyncio
async def test_each_of_many_steps_beside_each_other_is_undone_with_its_own_result(home: Path, outside: Outside):
    source = """
from stepwell import function

async def run(ctx, base: str):
    async def book(what):
        if what == "bad":
            raise ValueError(what)
        tools.curl.post(url=f"{base}/effect/book-{what}", json={})
        return {"what": what}
    def cancel(booked):
        tools.curl.post(url=f"{base}/effect/cancel-{booked['what']}", json={})
    @function(retries=1, retry_delay=0.0)
    def failing():
        tools.curl.post(url=f"{base}/effect/tried-{ctx.attempt}", json={})
        return book("bad")
    """
    async with Session(home) as session:
        for name, shape in SHAPES.items():
            outside.effects.clear()
            await session.add_workflow(name, source + shape)
            run = await session.run(name, base=outside.url)

            assert run.status is RunStatus.FAILED, name
            assert "bad" in str(run.error), name
            outside.effects.pop("tried-1", None)
            assert outside.effects == {"book-a": 1, "book-b": 1, "cancel-a": 1, "cancel-b": 1}, name
            assert len(await undone(session, run.id)) == 2
            if name == "gather":
                tried = [e.data["attempt"] for e in await session.timeline(run) if e.data.get("step") == "failing"]
                assert max(tried) == 2, "a function in ctx.parallel has the options of its @function"


@pytest.mark.asyncio
async def test_a_child_that_completed_is_undone_by_its_step_and_one_under_way_by_itself(home: Path, outside: Outside):
    parent = (
        "import asyncio\n\nasync def run(ctx, base: str):\n"
        "    def back(output):\n        tools.curl.post(url=f'{base}/effect/back-{output}', json={})\n"
        "    await ctx.step(workflows.done, undo=back)\n"
        "    going = asyncio.ensure_future(ctx.invoke('trip', base=base, end='wait'))\n"
        "    await ctx.step(tools.fetch, url=base + '/gate/go')\n"
        "    raise ValueError('no')\n"
    )
    async with Session(home) as session:
        await session.add_workflow("trip", SAGA)
        await session.add_workflow(
            "done", "async def run(ctx):\n    return await ctx.step('n', lambda: 7, undo=print)\n"
        )
        await session.add_workflow("parent", parent)
        run = await session.start("parent", base=outside.url)
        await asyncio.to_thread(outside.wait_for_effect, "book-note")
        outside.open_gate("go")
        run = await session.wait(run)
        children = {item.workflow: item.id for item in (await session.app.engine.list(parent_id=run.id)).items}
        ended = {name: await session.wait(child) for name, child in children.items()}

        assert run.status is RunStatus.FAILED
        assert {name: child.status for name, child in ended.items()} == {
            "done": RunStatus.COMPLETED,
            "trip": RunStatus.CANCELLED,
        }
        assert outside.effects == BOOKED | CANCELLED | {"back-7": 1}
        assert await undone(session, children["done"]) == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("await ctx.step('one', lambda: 1, undo='no')", "undo is a function"),
        ("await ctx.step('one', inner, ctx)", "undo= is for steps of the workflow's body"),
        ("await ctx.step('one', many, ctx)", "undo= is for steps of the workflow's body"),
    ],
)
@pytest.mark.asyncio
async def test_an_undo_that_cannot_be_is_refused_when_it_is_made(home: Path, body: str, message: str):
    inner = (
        "async def inner(ctx):\n    await ctx.step('x', lambda: 1, undo=print)\n\n"
        "async def many(ctx):\n    await ctx.batch(str, [1], undo=print)\n\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", f"{inner}async def run(ctx):\n    {body}\n")
        run = await session.run("flow")

        assert run.error is not None
        assert message in run.error.message
