"""How often a run waits for the disk, counted in the store's log and not in time."""

import asyncio
from pathlib import Path

import pytest
from wal_commits import count_commits

from stepwell.engine import dispatch, recorder
from stepwell.model import RunStatus
from stepwell_server import Session
from support.outside import Outside

STEPS = 12

# The call is the only effect of each step.
CHANGES = """
def change(base: str, n: int) -> str:
    return tools.http.request(method="POST", url=f"{base}/effect/{n}", json={})["status"]

def run(ctx, base: str, n: int) -> list:
    return [ctx.step("change", change, base, i) for i in range(n)]
"""
READS = """
def read(base: str, n: int) -> str:
    return tools.fetch(url=f"{base}/read/{n}")

def run(ctx, base: str, n: int) -> list:
    return [ctx.step("read", read, base, i) for i in range(n)]
"""
PURE = """
def run(ctx, base: str, n: int) -> list:
    return [ctx.step("add", lambda i: i + 1, i) for i in range(n)]
"""


@pytest.fixture
def only_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what somebody waits for is committed: no timer of the recorder or of the lease adds a commit."""
    monkeypatch.setattr(recorder, "DELAY_S", 60.0)
    monkeypatch.setattr(dispatch, "LEASE_S", 1800.0)


async def commits_of(home: Path, outside: Outside, source: str) -> int:
    """Return the commits of a run of `STEPS` steps, less those of a run without any."""
    counts: list[int] = []
    async with Session(home) as session:
        await session.add_workflow("counted", source)
        for n in (0, STEPS):
            before = count_commits(home / "stepwell.db")
            run = await session.run("counted", base=outside.url, n=n)
            assert run.status is RunStatus.COMPLETED, run.error
            counts.append(count_commits(home / "stepwell.db") - before)
    return counts[1] - counts[0]


@pytest.mark.usefixtures("only_waits")
@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("source", "most"),
    [
        # The intent, with the result of the step before it.
        pytest.param(CHANGES, STEPS, id="a-call-that-changes-something"),
        # A read needs no intent, only what it may have been computed from: the step before it.
        pytest.param(READS, STEPS - 1, id="a-call-that-reads"),
        pytest.param(PURE, 0, id="no-call"),
    ],
)
async def test_a_step_waits_for_one_commit_at_most(home: Path, outside: Outside, source: str, most: int):
    assert await commits_of(home, outside, source) == most


@pytest.mark.asyncio
async def test_a_read_that_takes_long_costs_no_commit_of_its_own(
    home: Path, outside: Outside, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(recorder, "DELAY_S", 0.001)
    monkeypatch.setattr(recorder, "TIMELINE_S", 60.0)
    source = READS.replace("/read/", "/gate/")
    async with Session(home) as session:
        await session.add_workflow("counted", source)
        run = await session.start("counted", base=outside.url, n=1)
        await asyncio.to_thread(outside.wait_for_read, "0")
        for _ in range(100):  # longer than an entry would wait to be written
            await session.get(run)
        under_way = await session.timeline(run)
        outside.open_gate("0")
        run = await session.wait(run)

        assert [event.type for event in under_way] == ["run.created"]
        types = [event.type for event in await session.timeline(run)]
        assert types.index("step.started") < types.index("call.started") < types.index("call.completed")
