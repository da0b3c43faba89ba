"""Large journals: refused before they are too large, shown, cancelled and put away all the same."""

import asyncio
from pathlib import Path

import pytest

from stepwell.model import RunStatus
from stepwell_server import Session
from support.outside import Outside
from support.server import LOCAL_HTTP, make_home

COUNT = '''
"""Many steps, then a wait."""

async def run(ctx, count: int, size: int = 1, wait: bool = False) -> int:
    for n in range(count):
        await ctx.step("step", "x" * size)
    if wait:
        await ctx.wait_for_user("Well?")
    return count
'''


def limited(path: Path, limits: str) -> Path:
    return make_home(path / "home", f"{LOCAL_HTTP}[limits]\n{limits}\n")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("limits", "inputs", "said"),
    [
        ("journal_entries = 50", {"count": 51}, "journal_entries = 50"),
        ("journal_bytes = 100000", {"count": 60, "size": 2000}, "journal_bytes = 100000"),
    ],
    ids=["entries", "bytes"],
)
async def test_scenario_23_a_journal_fails_before_it_crosses_its_limit(
    tmp_path: Path, limits: str, inputs: dict[str, int], said: str
) -> None:
    async with asyncio.timeout(60), Session(limited(tmp_path, limits)) as session:
        await session.add_workflow("count", COUNT)
        run = await session.run("count", **inputs)

        assert run.status is RunStatus.FAILED
        assert run.error is not None
        assert (run.error.code, said in run.error.message) == ("limit_exceeded", True)
        assert "child workflows" in run.error.hint
        entries = await session.app.engine.journal(run.id, limit=200)
        assert len(entries) in ({50} if "entries" in said else {46, 47, 48})
        again = await session.resume(run)
        assert again.status is RunStatus.FAILED
        assert len(await session.app.engine.journal(run.id, limit=200)) == len(entries)
        assert (await session.resume(run, "discard")).status is RunStatus.CANCELLED


@pytest.mark.asyncio
async def test_scenario_23_a_run_goes_on_when_its_limit_is_raised(tmp_path: Path) -> None:
    async with asyncio.timeout(60), Session(limited(tmp_path, "journal_entries = 50")) as session:
        await session.add_workflow("count", COUNT)
        failed = await session.run("count", count=60)
        assert failed.status is RunStatus.FAILED
    async with asyncio.timeout(60), Session(limited(tmp_path, "journal_entries = 70")) as session:
        run = await session.resume(failed.id)

        assert (run.status, run.output, len(run.skipped_steps)) == (RunStatus.COMPLETED, 60, 1)


@pytest.mark.asyncio
async def test_scenario_23_a_run_at_its_limit_is_cancelled(tmp_path: Path) -> None:
    async with asyncio.timeout(60), Session(limited(tmp_path, "journal_entries = 51")) as session:
        await session.add_workflow("count", COUNT)
        run = await session.run("count", count=50, wait=True)
        assert run.status is RunStatus.WAITING
        assert (await session.cancel(run)).status is RunStatus.CANCELLED


@pytest.mark.asyncio
async def test_scenario_23_a_call_is_refused_while_its_outcome_might_not_fit(tmp_path: Path, outside: Outside) -> None:
    source = (
        "async def run(ctx, base):\n    await ctx.step('fill', 'x' * 3500)\n"
        "    return tools.curl.post(url=base + '/effect/e', json={})\n"
    )
    async with asyncio.timeout(60), Session(limited(tmp_path, "journal_bytes = 4000")) as session:
        await session.add_workflow("call", source)
        run = await session.run("call", base=outside.url)

    assert run.error is not None
    assert run.error.code == "limit_exceeded"
    assert outside.effects == {}


@pytest.mark.asyncio
async def test_scenario_23_large_values_come_back_from_the_store(home: Path, outside: Outside) -> None:
    source = """
async def run(ctx, base: str) -> list:
    parts = []
    async def attempt():
        tools.curl.post(url=base + "/effect/once", json={"filler": "y" * 20_000})
        answer = tools.fetch(url=base + "/large/a")
        parts.append(1)
        if len(parts) < 2:
            raise ValueError("once more")
        return answer
    large = await ctx.step("step", "x" * 900_000)
    await ctx.step(attempt, retries=1, retry_delay=0)
    await ctx.sleep(2.5)
    return [len(large)]
"""
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("large", source)
        run = await session.run("large", base=outside.url)
        assert (run.status, run.output, outside.effects) == (RunStatus.COMPLETED, [900_000], {"once": 1})
        assert len(run.step_results["step"]) == 900_000
        shown = {step.name: step.result for step in await session.app.engine.steps(run.id)}
        assert shown["step"] == {"cut": True, "bytes": 900_002}


CHATTY = '''
"""Print and tell much in each of several processes."""

async def run(ctx, rounds: int) -> int:
    for n in range(rounds):
        for line in range(4_000):
            print(f"round {n} line {line}")
        for done in range(3_000):
            ctx.progress(done, 3_000)
        await ctx.sleep(2.5)
    return rounds
'''


@pytest.mark.exhaustive
@pytest.mark.asyncio
async def test_scenario_23_output_and_progress_of_a_run_are_bounded(home: Path) -> None:
    async with asyncio.timeout(120), Session(home) as session:
        await session.add_workflow("chatty", CHATTY)
        run = await session.run("chatty", rounds=5)
        assert run.status is RunStatus.COMPLETED
        events = await session.timeline(run)
        lines = await session.app.engine.logs(run.id, limit=100_000)

    assert sum(event.type == "progress" for event in events) <= 5_000 + 3_000
    assert len(lines) <= 10_000 + 4_000
    assert lines[-1].text == "round 4 line 3999"
    assert {"run.created", "timeline.trimmed"} <= {event.type for event in events}
    numbers = [event.n for event in events]
    assert numbers == sorted(set(numbers))
