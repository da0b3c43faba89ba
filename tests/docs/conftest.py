"""A local site, and a home that may call it."""

from collections.abc import Generator
from pathlib import Path

import pytest

from docs.local_site import LocalSite, serve_site


@pytest.fixture
def site() -> Generator[LocalSite, None, None]:
    with serve_site() as served:
        yield served


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    (path / "stepwell.toml").write_text('[http]\nallow_hosts = ["127.0.0.1"]\nallow_private = true\n')
    return path
