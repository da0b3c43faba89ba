from pathlib import Path

import pytest

from cli.processes import Stepwell


@pytest.fixture
def stepwell(tmp_path: Path) -> Stepwell:
    return Stepwell(tmp_path / "home")
