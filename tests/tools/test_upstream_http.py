"""Tools of MCP servers behind a URL, of both eras of the protocol."""

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest
import pytest_asyncio

from stepwell.errors import ToolFailure
from stepwell.tools import OutcomeUnknown, Toolbox, open_toolbox
from stepwell.tools.upstream import McpServer
from tools.loopback import call

SUPPORT = Path(__file__).parent.parent / "support"


class Web:
    """A server process on a port of its own, which stays the same when it is started again."""

    def __init__(self, *words: str) -> None:
        self._words = words
        self.port = 0
        self.start()

    def start(self) -> None:
        words = [word.replace("http=0", f"http={self.port}") for word in self._words]
        self.process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        self.process.stdout.close()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def server(self, name: str) -> McpServer:
        return McpServer(name, url=f"http://127.0.0.1:{self.port}/mcp", timeout_s=20, start_s=20)


@pytest.fixture(scope="module")
def sdk() -> Generator[Web, None, None]:
    web = Web(str(SUPPORT / "sdk_server.py"), "http")
    yield web
    web.stop()


@pytest.fixture
def raw(tmp_path: Path) -> Generator[Web, None, None]:
    web = Web("-I", "-S", str(SUPPORT / "raw_server.py"), "http=0", f"log={tmp_path / 'log'}")
    yield web
    web.stop()


@pytest_asyncio.fixture(scope="module")
async def box(sdk: Web) -> AsyncGenerator[Toolbox, None]:
    async with open_toolbox(servers=[sdk.server("sdk")]) as box:
        await box.prepare()
        yield box


@pytest.mark.slow
@pytest.mark.asyncio
async def test_a_server_without_sessions_is_called(box: Toolbox) -> None:
    assert await call(box, "sdk.add", a=1, b=2) == 3
    assert await call(box, "sdk.person") == {"name": "Ada", "tags": ["x"]}
    spec = box.find_tool("sdk.add")
    assert spec is not None
    assert spec.returns == "int"
    many = await asyncio.gather(*(call(box, "sdk.add", a=n, b=1) for n in range(20)))
    assert many == list(range(1, 21))


@pytest.mark.slow
@pytest.mark.asyncio
async def test_its_changes_are_heard(box: Toolbox) -> None:
    assert await call(box, "sdk.grow") == "grew"
    async with asyncio.timeout(20):
        while box.find_tool("sdk.grown") is None:
            await box.prepare("sdk.grown")
    assert await call(box, "sdk.grown") == "new"


@pytest.mark.slow
@pytest.mark.asyncio
async def test_an_answer_is_bounded(box: Toolbox) -> None:
    with pytest.raises(ToolFailure, match="longer than 16777216 bytes") as caught:
        await call(box, "sdk.huge", megabytes=20)
    assert caught.value.code == "too_large"
    assert await call(box, "sdk.add", a=2, b=2) == 4


@pytest.mark.asyncio
async def test_a_session_that_the_server_has_ended_is_begun_anew(raw: Web, tmp_path: Path) -> None:
    async with open_toolbox(servers=[raw.server("raw")]) as box:
        await box.prepare()
        assert await call(box, "raw.note", text="one") == "noted one"
        forget = urllib.request.Request(f"http://127.0.0.1:{raw.port}/mcp", json.dumps({"method": "forget"}).encode())
        await asyncio.to_thread(urllib.request.urlopen, forget)
        assert await call(box, "raw.note", text="two") == "noted two"
        assert (tmp_path / "log").read_text().count("note ") == 2


@pytest.mark.asyncio
async def test_a_server_that_is_away_is_an_error_until_it_is_back(raw: Web, tmp_path: Path) -> None:
    async with open_toolbox(servers=[raw.server("raw")]) as box:
        await box.prepare()
        with pytest.raises(OutcomeUnknown, match="broke the connection"):
            await call(box, "raw.die_noting", text="once")
        raw.process.wait()
        with pytest.raises(ToolFailure) as caught:
            await call(box, "raw.note", text="nobody hears this")
        assert (caught.value.code, caught.value.retryable) == ("connection_failed", True)
        raw.start()
        assert await call(box, "raw.note", text="back") == "noted back"
        assert (tmp_path / "log").read_text().count("note ") == 1
