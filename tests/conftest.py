"""One sandbox for all tests that open homes in this process: starting one is most of the time that such a test takes.

Homes with settings of their own for it, and whatever runs in another event loop or process, get their own.
"""

import asyncio
import signal
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import stepwell_server.app
from confined import SHARED
from stepwell.ports.sandbox import Limits
from stepwell_sandbox.open import open_sandbox
from stepwell_sandbox.sandbox import ConfinedSandbox

# Where the tests run in the background of a script it is ignored, and each command that they start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

USUAL: dict[str, Any] = {"minimum": "B", "pool": 2, "limits": Limits()}


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_sandbox() -> AsyncGenerator[tuple[ConfinedSandbox, asyncio.AbstractEventLoop], None]:
    with tempfile.TemporaryDirectory(prefix=SHARED) as folder:
        async with open_sandbox(scratch_root=Path(folder), **USUAL) as sandbox:
            yield sandbox, asyncio.get_running_loop()


@pytest.fixture(autouse=True)
def one_sandbox(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    own = "own_sandbox" in request.keywords or request.path.parent.name == "sandbox"
    if own or request.node.get_closest_marker("asyncio") is None:
        return
    sandbox, loop = request.getfixturevalue("shared_sandbox")

    def find(**options: Any) -> AbstractAsyncContextManager[ConfinedSandbox]:
        usual = options in (USUAL, USUAL | {"pool": 0})
        return nullcontext(sandbox) if usual and asyncio.get_running_loop() is loop else open_sandbox(**options)

    monkeypatch.setattr(stepwell_server.app, "open_sandbox", find)
