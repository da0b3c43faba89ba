from pathlib import Path

import pytest

from packages.wheels import use_only
from support.server import make_home

CONFIG = '[packages]\nallow = ["clocked", "greeting>=1", "helper", "onlysource", "huge"]\nmax_mib = 5\n'


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which packages are looked for."""
    use_only(tmp_path / "wheels", monkeypatch)
    return tmp_path / "wheels"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return make_home(tmp_path / "home", CONFIG)
