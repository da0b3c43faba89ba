"""Random programs replayed without effects: each agrees with what was recorded of it, and one that differs does not."""

import os
import random
from pathlib import Path

import pytest

from durability.driving import CONFIG, Errands, driving
from durability.programs import generate
from durability.test_programs import SEED, start
from support.server import make_home
from support.workers import Workers

COUNT = int(os.environ.get("STEPWELL_PROGRAMS", "12"))
BATCH = 30
LAST = "return {'seen': seen, 'last': box}"


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize("first", range(0, COUNT, BATCH))
async def test_a_recorded_program_agrees_with_itself_and_with_no_other(tmp_path: Path, workers: Workers, first: int):
    programs = {
        program.seed: program
        for n in range(first, min(first + BATCH, COUNT))
        if LAST in (program := generate(f"{SEED}-{n}")).source
    }
    rng = random.Random(f"{SEED}:{first}")
    wrong: list[str] = []
    with Errands(rng).serving() as outside:
        assert isinstance(outside, Errands)
        async with driving(make_home(tmp_path / "home", CONFIG), outside, workers) as driver:
            await start(driver, programs.values())
            await driver.until_ended()
            requests = outside.requests
            for run in (await driver.ended()).values():
                if run.id not in programs or run.status != "completed" or not run.settled:
                    continue
                source = programs[run.id].source
                same = (await driver.app.engine.compare(run.id)).difference
                if same is not None:
                    wrong.append(f"{run.id} differs from itself: {same}")
                longer = source.replace(LAST, f"tools.fetch(url=base)\n    {LAST}")
                found = (await driver.app.engine.compare(run.id, source=longer)).difference
                if found is None or not found.found.startswith("tool:fetch"):
                    wrong.append(f"{run.id} agrees with a source that calls more: {found}")
            assert outside.requests == requests
    assert not wrong, "\n".join(w[:700] for w in wrong)
