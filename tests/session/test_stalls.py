"""A host goes on with its other work whatever its guests send."""

import asyncio
from pathlib import Path

import pytest
from floods import LONG, MANY
from stalls import Watch, attack, watched_loop

from stepwell_server import Session
from support.responsive import responsive

GUESTS = 3  # of each attack, beside each other
FLOORS = 15  # of which one is the work to read and write a megabyte of numbers just then: 3 to 4 ms


async def attack_all(home: Path, watch: Watch, attacks: dict[str, str]) -> dict[str, float]:
    found: dict[str, float] = {}
    async with asyncio.timeout(240), Session(home) as session:
        await session.add_workflow("victim", "def run(x): return x")
        await session.run("victim", x=1)  # what is loaded with the first run is no guest's doing
        for name, body in attacks.items():
            await attack(session, watch, name, body, GUESTS)
            found[name] = watch.floors
            assert (await session.run("victim", x=1)).output == 1
    return found


@pytest.mark.slow
@pytest.mark.parametrize("attacks", [LONG, MANY], ids=["long", "many"])
def test_no_frames_hold_up_the_event_loop(attacks: dict[str, str], tmp_path: Path) -> None:
    loop, watch = watched_loop()
    with responsive(), asyncio.Runner(loop_factory=lambda: loop) as runner:
        found = runner.run(attack_all(tmp_path / "home", watch, attacks))
    assert {name: floors for name, floors in found.items() if floors > FLOORS} == {}
