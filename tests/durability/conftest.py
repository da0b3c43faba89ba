from collections.abc import Generator
from pathlib import Path

import pytest

from support.outside import Outside
from support.server import Server, make_home
from support.workers import Workers


@pytest.fixture
def outside() -> Generator[Outside, None, None]:
    with Outside().serving() as server:
        yield server


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return make_home(tmp_path / "home")


@pytest.fixture
def server(tmp_path: Path) -> Generator[Server, None, None]:
    server = Server(make_home(tmp_path / "home"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def workers() -> Generator[Workers, None, None]:
    with Workers() as started:
        yield started
