"""The harness: workflows stored and run from Python."""

import asyncio
from pathlib import Path

import pytest

from stepwell.errors import Conflict, InvalidArguments, InvalidSource, NameTaken, NotFound
from stepwell_sandbox.sandbox import ConfinedSandbox
from stepwell_server import Session

GREET = '''
"""Greet somebody."""

def run(name: str, workflow: str = "", self_: int = 0) -> str:
    return f"Hello {name}{workflow}"
'''

ORDER = '''
"""Charge, ask, approve, confirm."""

def charge(amount):
    return {"charged": amount}

async def run(ctx, amount: int) -> dict:
    paid = await ctx.step("charge", charge, amount)
    language = await ctx.wait_for_user("Language?", input_type="select", options=["en", "de"])
    await ctx.approve("Confirm?")
    return paid | {"language": language}
'''

FAILS = '''
"""Fail."""

def no():
    raise KeyError("missing")

async def run(ctx) -> None:
    await ctx.step("lookup", no)
'''


@pytest.mark.row("P27")
@pytest.mark.asyncio
async def test_a_workflow_is_added_and_run(tmp_path: Path) -> None:
    async with asyncio.timeout(60), Session(tmp_path / "home") as session:
        added = await session.add_workflow(name="greet", source=GREET, description="Say hello.")
        run = await session.run("greet", name="Bob")

        assert added.workflow.description == "Say hello."
        assert (run.status, run.output) == ("completed", "Hello Bob")
        assert [item.name for item in await session.list_workflows()] == ["greet"]
        assert [hit.workflow.name for hit in (await session.search("say hello")).items] == ["greet"]


@pytest.mark.row("P27")
@pytest.mark.asyncio
async def test_the_rules_for_adding_are_those_of_every_client(tmp_path: Path) -> None:
    async with asyncio.timeout(60), Session(tmp_path / "home") as session:
        await session.add_workflow(name="greet", source=GREET)

        with pytest.raises(NameTaken):
            await session.add_workflow(name="greet", source=GREET.replace("Hello", "Hi"))
        with pytest.raises(InvalidSource):
            await session.add_workflow(name="other", source="def run(:")
        await session.add_workflow(name="greet", source=GREET.replace("Hello", "Hi"), replace=True)

        assert (await session.run("greet", name="Bob")).output == "Hi Bob"
        assert await session.delete_workflow("greet") is True
        assert await session.delete_workflow("greet") is False
        assert await session.list_workflows() == []


@pytest.mark.row("P2")
@pytest.mark.asyncio
async def test_what_one_session_stored_the_next_one_finds(tmp_path: Path) -> None:
    async with asyncio.timeout(60):
        async with Session(tmp_path / "home") as first:
            await first.add_workflow(name="greet", source=GREET)
        async with Session(str(tmp_path / "home")) as second:
            assert (await second.run("greet", name="Ada")).output == "Hello Ada"


@pytest.mark.asyncio
async def test_code_is_run_without_being_stored(tmp_path: Path) -> None:
    async with asyncio.timeout(60), Session(tmp_path / "home") as session:
        script = await session.run_code("x = 20\nprint('working')\nx + 22")
        entry = await session.run_code("def run(n: int) -> int:\n    return n * 2\n", n=21)
        failed = await session.run_code("1 / 0")

        assert (script.output, entry.output) == (42, 42)
        assert failed.status == "failed"
        assert failed.error is not None
        assert failed.error.type == "ZeroDivisionError"
        assert await session.list_workflows() == []


@pytest.mark.asyncio
async def test_a_parameter_may_have_any_name(tmp_path: Path) -> None:
    async with asyncio.timeout(60), Session(tmp_path / "home") as session:
        await session.add_workflow(name="greet", source=GREET)

        run = await session.run("greet", name="Bob", workflow="!", self_=1)
        started = await session.start("greet", name="Bob", workflow="?")

        assert run.output == "Hello Bob!"
        assert (await session.wait(started)).output == "Hello Bob?"


@pytest.mark.asyncio
async def test_a_run_that_waits_is_returned_and_goes_on_when_decided(tmp_path: Path) -> None:
    async with asyncio.timeout(60), Session(tmp_path / "home") as session:
        await session.add_workflow(name="order", source=ORDER)

        asked = await session.run("order", amount=5)
        with pytest.raises(InvalidArguments):
            await session.answer(asked, "fr")
        gate = await session.answer(asked, "de")
        done = await session.approve(gate, digest=gate.waiting_for[0].digest, reviewer="Ada")

        assert [wait.kind for wait in (*asked.waiting_for, *gate.waiting_for)] == ["input", "approval"]
        assert done.output == {"charged": 5, "language": "de"}
        with pytest.raises(Conflict):
            await session.approve(done)
        types = [event.type for event in await session.timeline(done)]
        assert types[0] == "run.created"
        assert types[-1] == "run.completed"


@pytest.mark.asyncio
async def test_a_rejected_and_a_cancelled_run_end(tmp_path: Path) -> None:
    async with asyncio.timeout(60), Session(tmp_path / "home") as session:
        await session.add_workflow(name="order", source=ORDER)

        asked = await session.run("order", amount=1)
        cancelled = await session.cancel(asked, "no need")
        gate = await session.answer(await session.run("order", amount=2), "en")
        rejected = await session.reject(gate.id, "too dear")

        assert (cancelled.status, rejected.status) == ("cancelled", "rejected")
        assert rejected.error is not None
        assert "too dear" in rejected.error.message


@pytest.mark.asyncio
async def test_a_failed_run_is_returned_and_not_raised(tmp_path: Path) -> None:
    async with asyncio.timeout(60), Session(tmp_path / "home") as session:
        await session.add_workflow(name="fails", source=FAILS)

        run = await session.run("fails")
        again = await session.resume(run)

        for failed in (run, again):
            assert failed.status == "failed"
            assert failed.error is not None
            assert (failed.error.type, failed.error.step) == ("KeyError", "lookup")
        assert run.id == again.id
        with pytest.raises(NotFound):
            await session.run("fial")
        with pytest.raises(InvalidArguments):
            await session.run("fails", surplus=1)


@pytest.mark.asyncio
async def test_several_sessions_share_one_home_at_the_same_time(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with asyncio.timeout(60), Session(home) as first, Session(home) as second:
        await first.add_workflow(name="greet", source=GREET)
        await second.add_workflow(name="order", source=ORDER)

        runs = await asyncio.gather(
            *(session.run("greet", name=str(n)) for n in range(4) for session in (first, second))
        )
        asked = await first.run("order", amount=3)
        gate = await second.answer(asked, "en")
        done = await first.approve(gate)

        assert [run.output for run in runs] == [f"Hello {n}" for n in range(4) for _ in range(2)]
        assert done.output == {"charged": 3, "language": "en"}


@pytest.mark.row("S17")
@pytest.mark.asyncio
async def test_without_a_home_it_has_one_that_ends_with_it() -> None:
    """What a store in memory is elsewhere, for tests and for trying things out: nothing is left of it."""
    async with asyncio.timeout(60):
        async with Session() as session:
            path = session.app.home.path
            await session.add_workflow(name="greet", source=GREET)
            assert (await session.run("greet", name="Bob")).output == "Hello Bob"
            assert path.is_dir()

    assert not path.exists()
    with pytest.raises(RuntimeError, match="not open"):
        await session.run("greet", name="Bob")
    async with asyncio.timeout(60), Session() as later:
        assert (await later.app.engine.list()).items == ()
        assert await later.list_workflows() == []


@pytest.mark.asyncio
async def test_a_wait_is_bounded_by_its_timeout(tmp_path: Path) -> None:
    source = '"""Work."""\nimport time\n\ndef run() -> None:\n    time.sleep(3600)\n'
    async with asyncio.timeout(60), Session(tmp_path / "home") as session:
        await session.add_workflow(name="slow", source=source)

        run = await session.start("slow")
        waiting = await session.wait(run, timeout=0.5)

        assert waiting.status in ("running", "sleeping", "pending")
        assert (await session.cancel(waiting)).status == "cancelled"


@pytest.mark.row("P26")
@pytest.mark.asyncio
async def test_files_in_the_home_are_there(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "workflows"
    folder.mkdir(parents=True)
    (folder / "greet.py").write_text(GREET)
    async with asyncio.timeout(60), Session(tmp_path / "home") as session:
        assert (await session.run("greet", name="Bob")).output == "Hello Bob"


@pytest.mark.asyncio
async def test_homes_of_tests_share_one_sandbox(tmp_path: Path, shared_sandbox: tuple[ConfinedSandbox, object]) -> None:
    """Another one for each would be most of the time that all tests take."""
    async with Session(tmp_path / "home") as session:
        assert session.app.sandbox is shared_sandbox[0]
