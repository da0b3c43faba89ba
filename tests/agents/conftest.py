from collections.abc import Generator
from pathlib import Path

import pytest

from support.models import KEY, ModelServer
from support.server import LOCAL_HTTP, make_home


@pytest.fixture
def models() -> Generator[ModelServer, None, None]:
    with ModelServer().serving() as server:
        yield server


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.delenv("STEPWELL_MODELS", raising=False)


@pytest.fixture
def home(tmp_path: Path, models: ModelServer) -> Path:
    return make_home(tmp_path / "home", LOCAL_HTTP + models.config())
