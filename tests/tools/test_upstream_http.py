"""Tools of MCP servers behind a URL, of both eras of the protocol."""

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import AsyncGenerator, Callable, Generator
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

    def start(self, *more: str) -> None:
        words = [*(word.replace("http=0", f"http={self.port}") for word in self._words), *more]
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
    web = Web(str(SUPPORT / "sdk_server.py"), "http=0")
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


async def until(box: Toolbox, done: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not done():
            await asyncio.sleep(0.02)
            await box.prepare()


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
async def test_its_changes_are_heard(box: Toolbox, sdk: Web) -> None:
    assert await call(box, "sdk.grow") == "grew"
    await until(box, lambda: box.find_tool("sdk.grown") is not None)
    assert await call(box, "sdk.grown") == "new"
    # Another process behind the same address: what it does not say of itself is asked.
    sdk.stop()
    await asyncio.to_thread(sdk.start)
    await until(box, lambda: box.find_tool("sdk.grown") is None)
    assert await call(box, "sdk.add", a=1, b=1) == 2
    assert await call(box, "sdk.grow") == "grew"
    await until(box, lambda: box.find_tool("sdk.grown") is not None)


@pytest.mark.slow
@pytest.mark.asyncio
async def test_an_answer_is_bounded(box: Toolbox) -> None:
    with pytest.raises(ToolFailure, match="longer than 16777216 bytes") as caught:
        await call(box, "sdk.huge", megabytes=20)
    assert caught.value.code == "too_large"
    assert await call(box, "sdk.add", a=2, b=2) == 4


NO_SESSION = '{"jsonrpc": "2.0", "error": {"code": -32000, "message": "Bad Request: No valid session ID"}, "id": null}'


@pytest.mark.asyncio
async def test_a_session_that_the_server_has_ended_is_begun_anew(raw: Web, tmp_path: Path) -> None:
    async with open_toolbox(servers=[raw.server("raw")]) as box:
        await box.prepare()
        assert await call(box, "raw.note", text="0") == "noted 0"
        for n, (status, said) in enumerate(((404, ""), (404, NO_SESSION), (400, NO_SESSION)), 1):
            order = json.dumps({"method": "forget", "status": status, "said": said}).encode()
            forget = urllib.request.Request(f"http://127.0.0.1:{raw.port}/mcp", order)
            await asyncio.to_thread(urllib.request.urlopen, forget)
            assert await call(box, "raw.note", text=f"{n}") == f"noted {n}"
        assert (tmp_path / "log").read_text().count("note ") == 4


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
        raw.start("tools=1")
        assert await call(box, "raw.note", text="back") == "noted back"
        assert (tmp_path / "log").read_text().count("note ") == 1
        # What came back may be another server: its listing is read again.
        await box.prepare("raw.more_00000")
        assert box.find_tool("raw.more_00000") is not None
