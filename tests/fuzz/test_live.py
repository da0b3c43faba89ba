"""Real confined guests that write what they like to their descriptor, against a running server."""

import asyncio
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from fuzz import frames
from support.server import Server, at_rest, call, make_home

SEED = os.environ.get("STEPWELL_FUZZ_SEED", "1")
COUNT = int(os.environ.get("STEPWELL_FUZZ_LIVE", "40"))
ENDED = ("completed", "terminated", "failed", "rejected", "cancelled", "dead", "waiting", "sleeping", "in_doubt")
HOSTILE = (
    Path(frames.__file__).read_text()
    + """
def run(seed: str) -> int:
    import os
    sent = 0
    for data in script(random.Random(seed), 60, 0.05):
        view = memoryview(data)
        while view:
            view = view[os.write(3, view):]
        sent += 1
    return sent
"""
)
VICTIM = '''
"""Counts, in steps and with calls between them."""
async def run(ctx, rounds: int) -> int:
    found = 0
    for n in range(rounds):
        found = await ctx.step("add", lambda a: a + 1, found)
        artifacts.save("count", found)
        await ctx.sleep(0.02)
        found = artifacts.load("count")
    return found
'''


@pytest.fixture
def server(tmp_path: Path) -> Generator[Server, None, None]:
    server = Server(make_home(tmp_path / "home", '[limits]\ntotal_bytes = "4 MiB"\nwall_s = 20\n'))
    server.start()
    yield server
    server.stop()


@pytest.mark.slow
@pytest.mark.asyncio
async def test_guests_that_write_what_they_like_disturb_nobody(server: Server):
    async with asyncio.timeout(120), server.client() as client:
        for name, source in (("hostile", HOSTILE), ("victim", VICTIM)):
            created = await call(client, "create_workflow", name=name, source=source)
            assert "error" not in created, created
        victim = await call(client, "run_workflow", name="victim", arguments={"rounds": 30})
        started: list[dict[str, Any]] = [
            await call(client, "run_workflow", name="hostile", arguments={"seed": f"{SEED} {n}"}) for n in range(COUNT)
        ]
        for n, run in enumerate(started):
            found = await at_rest(client, run["run_id"])
            assert found["status"] in ENDED, (SEED, n, found)
        found = await at_rest(client, victim["run_id"])
        assert (found["status"], found["output"]) == ("completed", 30)
        again = await call(client, "invoke_workflow", name="victim", arguments={"rounds": 2})
        assert (again["status"], again["output"]) == ("completed", 2)
    said = "".join(server.errors)
    assert "Traceback" not in said, said
