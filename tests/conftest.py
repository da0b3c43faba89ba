"""One sandbox for all tests that open homes in this process: starting one is most of the time that such a test takes.

Homes with settings of their own for it, and whatever runs in another event loop or process, get their own.
"""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import stepwell_server.app
from confined import SHARED
from stepwell.search.models import find_model, place_model
from stepwell.tools import toolbox
from stepwell_sandbox.open import open_sandbox
from stepwell_sandbox.sandbox import ConfinedSandbox
from stepwell_server.home import find_models_folder
from stepwell_server.settings import Settings

# Searches go by words unless a test asks for the model, and nothing is fetched; processes that tests start inherit it.
BUILT_MODELS = Path(os.environ.setdefault("STEPWELL_BUILT_MODELS", str(find_models_folder())))
os.environ["STEPWELL_SEARCH_MODELS"] = str(Path(tempfile.gettempdir()) / "stepwell-no-models")
os.environ["HF_HUB_OFFLINE"] = "1"

# Where the tests run in the background of a script it is ignored, and each command that they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A machine under load starts a server slowly; what is late would be missing in a test, not the next time.
toolbox.PREPARE_S = 60.0

MEMORY = Path("/dev/shm")
ROOM_BYTES = 4 * 1024**3

USUAL: dict[str, Any] = {"minimum": Settings().sandbox.minimum, "limits": Settings().limits}
POOL = 2  # processes that the shared sandbox keeps ready


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Put the tests' homes into memory where there is room: a process that is killed leaves the same files there.

    A home has a log of 4 MiB, and thousands of those make one disk the test of all.
    """
    if config.option.basetemp is None and not hasattr(config, "workerinput") and _has_room(MEMORY):
        folder = tempfile.mkdtemp(prefix="stepwell-tests-", dir=MEMORY)
        config.option.basetemp = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long tests, so that none of them is the last one, for which all but one core would wait."""
    items.sort(key=lambda item: "exhaustive" not in item.keywords)


def _has_room(folder: Path) -> bool:
    with suppress(OSError):
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize > ROOM_BYTES and not found.f_flag & os.ST_NOEXEC
    return False


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_sandbox() -> AsyncGenerator[tuple[ConfinedSandbox, asyncio.AbstractEventLoop], None]:
    with tempfile.TemporaryDirectory(prefix=SHARED) as folder:
        async with open_sandbox(scratch_root=Path(folder), pool=POOL, **USUAL) as sandbox:
            yield sandbox, asyncio.get_running_loop()


@pytest.fixture(autouse=True)
def one_sandbox(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    own = "own_sandbox" in request.keywords or request.path.parent.name == "sandbox"
    if own or request.node.get_closest_marker("asyncio") is None:
        return
    sandbox, loop = request.getfixturevalue("shared_sandbox")

    def find(*, pool: int, **options: Any) -> AbstractAsyncContextManager[ConfinedSandbox]:
        shared = options == USUAL and asyncio.get_running_loop() is loop
        return nullcontext(sandbox) if shared else open_sandbox(pool=pool, **options)

    monkeypatch.setattr(stepwell_server.app, "open_sandbox", find)


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with the model that `make model` builds; homes opened from now on search with it."""
    model = find_model("offline")
    assert model is not None
    if place_model(model, BUILT_MODELS) is None:
        pytest.skip(f"there is no model in {BUILT_MODELS}: make model")
    monkeypatch.setenv("STEPWELL_SEARCH_MODELS", str(BUILT_MODELS))
    return BUILT_MODELS
