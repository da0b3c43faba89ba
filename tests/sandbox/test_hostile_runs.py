"""Guests that use the protocol against their host: the run ends with what was wrong, and others go on."""

import asyncio
import resource
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio
from floods import source

from stepwell.model import Run, RunStatus
from stepwell_server import Session

MIB = 1024 * 1024
pytestmark = pytest.mark.asyncio

STEP = 'send(t="step", key="a", name="s", attempt=1, status="ok", final=True, started=1.0, finished=2.0, value=1)\n    '


@pytest_asyncio.fixture
async def session(tmp_path: Path) -> AsyncGenerator[Session, None]:
    async with asyncio.timeout(60), Session(tmp_path / "home") as session:
        await session.add_workflow("victim", "def run(x): return x")
        yield session


async def attack(session: Session, body: str, head: str = "") -> Run:
    await session.add_workflow("attack", head + source(body))
    run = await session.wait(await session.start("attack"), 60)
    assert (await session.run("victim", x=1)).output == 1
    return run


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        (STEP + 'send(t="mark", n=1, key="a"); send(t="mark", n=2, key="a"); linger()', "protocol", "took 'a'"),
        (
            'call("event", "e", b"{}"); send(t="step", key="key1", name="s", attempt=1, status="ok", final=True, '
            "started=1.0, finished=2.0, value=1); linger()",
            "protocol",
            "'key1' twice",
        ),
        (STEP + 'send(t="mark", n=2, key="a"); linger()', "protocol", "as delivery 2 after 0"),
        (
            'for n in range(20): call("event", "e", b\'{"x":"\' + b"y" * 4_000_000 + b\'"}\', n)\n    linger()',
            "limit_exceeded",
            "hold more than 64 MiB",
        ),
        ('send(t="drop", id=0, key="none"); send(t="undone", failed=0); linger()', "protocol", "out of order"),
    ],
    ids=["a mark twice", "a step with the key of a call", "a mark too far", "large calls", "an end of another mode"],
)
async def test_the_run_ends_with_what_was_wrong(session: Session, body: str, code: str, says: str) -> None:
    run = await attack(session, body)
    assert run.status is RunStatus.FAILED
    assert run.error is not None
    assert run.error.code.startswith(code), run.error
    assert says in run.error.message


async def test_one_that_says_it_waits_and_waits_for_nothing_is_still_timed(session: Session) -> None:
    run = await attack(
        session, 'send(t="idle", calls=0)\n    select.select([], [], [], 60)', "options = dict(timeout=1)\n"
    )
    assert run.status is RunStatus.FAILED
    assert run.error is not None
    assert "wall_s" in run.error.message


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.slow
async def test_answers_that_nobody_reads_are_not_kept_in_memory(session: Session) -> None:
    body = 'call("act", "artifacts.save", b\'{"name":"k","data":"\' + b"x" * 1_000_000 + b\'"}\')\n'
    body += '    for n in range(2, 400): call("query", "artifacts.load", b\'{"name":"k"}\', n)\n'
    body += "    select.select([], [], [], 3)\n    os._exit(0)"
    await session.add_workflow("attack", source(body))
    before = resident_bytes()
    run = await session.start("attack")
    grown = 0
    while (await session.get(run)).status is RunStatus.RUNNING:
        grown = max(grown, resident_bytes() - before)
        await asyncio.sleep(0.05)
    assert grown < 150 * MIB  # the answers have 400
