"""Every attack at every level, judged by its result and by what it did outside."""

import asyncio
from collections.abc import Generator
from pathlib import Path

import pytest

from attack_world import SECRET_NAME, SECRET_VALUE, World
from attacks import ATTACKS, FOLDER, LOSSES, Attacker
from confined import LEVEL_NAMES, confined

# The strongest level and the one without bubblewrap every time, those between and below in the exhaustive form.
LEVEL_CASES = [
    pytest.param(name, marks=pytest.mark.exhaustive) if name in ("A2", "C") else name for name in LEVEL_NAMES
]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[World]:
    monkeypatch.setenv(SECRET_NAME, SECRET_VALUE)
    world = World(tmp_path / "world")
    yield world
    world.close()


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize("level", LEVEL_CASES)
async def test_no_attack_gets_out(level: str, tmp_path: Path, world: World) -> None:
    async with asyncio.timeout(300), confined(level, tmp_path / "sandbox") as link:
        trial = await Attacker(link, world).run_all()
    assert trial.escapes == {}
    assert len(trial.stopped) + len(trial.failures) + len(trial.skipped) == len(ATTACKS)


def test_the_index_names_every_attack_once() -> None:
    files = {path.name.removesuffix(".py.txt") for path in FOLDER.glob("*.py.txt")} - {"prelude"}
    names = [attack.name for attack in ATTACKS]
    assert sorted(names) == sorted(files)
    assert {name for losses in LOSSES.values() for name in losses} <= files
