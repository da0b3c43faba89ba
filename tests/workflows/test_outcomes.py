"""What becomes of a decision, whenever and however often it is given: the table of docs/semantics.md, line by line."""

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from stepwell.errors import Conflict, InvalidArguments, NotFound
from stepwell.model import Run, RunStatus
from stepwell_server import Session
from stepwell_server.app import App, open_app
from support.outside import Outside

ASK = """
async def run(ctx, base: str = ""):
    if base:
        tools.fetch(url=base + "/gate/g")
    got = await ctx.wait_for_user("first?", name="first", timeout=86400)
    gate = await ctx.approve("second?", name="second", timeout=86400)
    return [got, gate["approved"]]
"""


def execute(home: Path, sql: str) -> None:
    connection = sqlite3.connect(home / "stepwell.db", timeout=60)
    connection.execute(sql)
    connection.commit()
    connection.close()


async def asking(session: Session) -> Run:
    await session.add_workflow("ask", ASK)
    return await session.run("ask")


@pytest.mark.asyncio
async def test_before_the_question_is_there(home: Path, outside: Outside):
    async with Session(home) as session:
        await session.add_workflow("ask", ASK)
        run = await session.start("ask", base=outside.url)
        await asyncio.to_thread(outside.wait_for_read, "g")
        with pytest.raises(Conflict, match="is running and waits for no approval or answer"):
            await session.answer(run, "early")
        with pytest.raises(Conflict, match="does not wait for 'first'"):
            await session.answer(run, "early", key="first")
        outside.open_gate("g")
        run = await session.wait(run)
        with pytest.raises(Conflict, match="does not wait for 'second'"):
            await session.approve(run, key="second")
        run = await session.approve(await session.answer(run, "in time"))

    assert run.output == ["in time", True]


@pytest.mark.asyncio
async def test_twice_to_the_wrong_key_and_of_the_wrong_kind(home: Path):
    async with Session(home) as session:
        run = await asking(session)
        with pytest.raises(Conflict, match="does not wait for 'other'") as wrong:
            await session.answer(run, "x", key="other")
        assert "'first'" in wrong.value.hint
        run = await session.answer(run, "x", key="first")
        with pytest.raises(Conflict, match="decided already"):
            await session.answer(run, "y", key="first")
        with pytest.raises(InvalidArguments, match="asks for an approval"):
            await session.answer(run, "y")
        with pytest.raises(Conflict, match="digest"):
            await session.approve(run, digest="0" * 12)
        with pytest.raises(Conflict, match="has no call in doubt"):
            await session.resume(run, "value", value=1)
        run = await session.approve(run)
        with pytest.raises(Conflict, match=r"decided already \(approve"):
            await session.reject(run, key="second")

    assert run.output == ["x", True]


@pytest.mark.asyncio
async def test_for_a_wait_of_another_kind(home: Path):
    async with Session(home) as session:
        await session.add_workflow("wait", "async def run(ctx):\n    await ctx.wait_for_event('go')\n")
        run = await session.run("wait")
        with pytest.raises(Conflict, match="kind event") as wrong:
            await session.answer(run, "x", key="go")
    assert "emit_event" in wrong.value.hint


@pytest.mark.asyncio
async def test_after_the_end_and_for_no_run(home: Path):
    async with Session(home) as session:
        run = await asking(session)
        await session.cancel(run)
        with pytest.raises(Conflict, match="has ended as cancelled"):
            await session.answer(run, "late")
        with pytest.raises(Conflict, match="has ended as cancelled"):
            await session.answer(run, "late", key="first")
        with pytest.raises(NotFound):
            await session.answer("r-nobody", "x")


@pytest.mark.asyncio
async def test_after_the_deadline(home: Path):
    async with Session(home) as session:
        run = await asking(session)
    execute(home, "UPDATE waits SET until = 1.0")  # a day goes by
    async with open_app(home, execute=False) as app:
        with pytest.raises(Conflict, match="expired"):
            await app.engine.decide(run.id, "answer", value="late", via="cli")
    execute(home, "UPDATE runs SET wake_at = 1.0")
    async with Session(home) as session:
        run = await session.wait(run, 60)
        with pytest.raises(Conflict, match="expired: nobody decided in time"):
            await session.answer(run, "late", key="first")

    assert run.status is RunStatus.FAILED
    assert run.error is not None
    assert run.error.type == "TimeoutError"


async def together(home: Path, one: Any, two: Any) -> list[Any]:
    """Let two processes' worth of engines act on one home at the same time."""
    async with open_app(home, execute=False) as first, open_app(home, execute=False) as second:
        return await asyncio.gather(one(first), two(second), return_exceptions=True)


def answer(run: Run, value: str) -> Any:
    async def act(app: App) -> str:
        await app.engine.decide(run.id, "answer", value=value, via="cli")
        return value

    return act


@pytest.mark.asyncio
async def test_one_of_two_givers_wins_and_is_never_lost(home: Path):
    async with Session(home) as session:
        run = await asking(session)
    results = await together(home, answer(run, "one"), answer(run, "two"))
    (accepted,) = [result for result in results if isinstance(result, str)]
    assert sorted(type(result).__name__ for result in results) == ["Conflict", "str"]
    async with Session(home) as session:
        run = await session.approve(await session.wait(run, 60))

    assert run.output == [accepted, True]


@pytest.mark.asyncio
async def test_an_answer_at_the_deadline_is_taken_or_refused_and_the_run_agrees(home: Path):
    source = """
async def run(ctx):
    try:
        return await ctx.wait_for_user("?", timeout=3.0)
    except TimeoutError:
        return "nobody"
"""
    async with Session(home) as session, open_app(home, execute=False) as other:
        await session.add_workflow("ask", source)

        async def race(early_s: float) -> None:
            run = await session.start("ask")
            async with asyncio.timeout(60):
                while not (await session.get(run)).waiting_for:
                    await session.wait(run, 0.02)
            until = (await session.get(run)).waiting_for[0].until
            assert until is not None
            await asyncio.sleep(max(0.0, until - time.time() - early_s))
            try:
                await other.engine.decide(run.id, "answer", value="taken", via="cli")
                expected = "taken"
            except Conflict:
                expected = "nobody"
            assert (await session.wait(run, 60)).output == expected

        await asyncio.gather(*(race(early_s) for early_s in (0.1, 0.01, 0.004, 0.0)))


@pytest.mark.asyncio
async def test_an_answer_that_was_accepted_before_a_cancel_is_used_when_the_run_is_resumed(home: Path):
    async with Session(home) as session:
        run = await asking(session)
    async with open_app(home, execute=False) as app:
        await app.engine.decide(run.id, "answer", value="kept", via="cli")
        assert (await app.engine.cancel(run.id)).status is RunStatus.CANCELLED
        with pytest.raises(Conflict, match="has been decided already"):
            await app.engine.decide(run.id, "answer", value="other", key="first", via="cli")
        await app.engine.resume(run.id, via="cli")
    async with Session(home) as session:
        run = await session.wait(run, 60)
        assert [wait.name for wait in run.waiting_for] == ["second"]
        run = await session.approve(run)

    assert run.output == ["kept", True]


@pytest.mark.asyncio
@pytest.mark.parametrize(("asks", "waiting"), [("first?", "second"), ("sure?", "first")])
async def test_an_accepted_answer_is_used_by_another_version_for_the_same_question_only(
    home: Path, asks: str, waiting: str
):
    async with Session(home) as session:
        run = await asking(session)
        await session.add_workflow("ask", "# mended" + ASK.replace("first?", asks), replace=True)
    async with open_app(home, execute=False) as app:
        await app.engine.decide(run.id, "answer", value="kept", via="cli")
        await app.engine.cancel(run.id)
    async with Session(home) as session:
        run = await session.resume(run.id, version="current")

        assert [wait.name for wait in run.waiting_for] == [waiting]


@pytest.mark.asyncio
async def test_an_answer_and_a_cancel_at_the_same_time(home: Path):
    async with Session(home) as session:
        run = await asking(session)

    async def cancel(app: App) -> RunStatus:
        return (await app.engine.cancel(run.id)).status

    given, cancelled = await together(home, answer(run, "x"), cancel)
    async with Session(home) as session:
        await session.wait(run, 60)
        run = await session.resume(run)

    assert cancelled is RunStatus.CANCELLED
    waits_for = [wait.name for wait in run.waiting_for]
    assert waits_for == (["second"] if given == "x" else ["first"])
    assert given == "x" or isinstance(given, Conflict)
