"""How a serving process starts, refuses and ends."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mcp_clients import SERVE, call, http_server, in_memory, over_http

pytestmark = pytest.mark.asyncio

TOKEN = "a-token-of-enough-characters"
HELLO: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


def request(number: int, tool: str, **arguments: Any) -> dict[str, Any]:
    params = {"name": tool, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


class Pipe:
    """A server on stdio, spoken to in raw lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def send(self, message: dict[str, Any] | bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write((message if isinstance(message, bytes) else json.dumps(message).encode()) + b"\n")
        await self.process.stdin.drain()

    async def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        return json.loads(await self.process.stdout.readline())

    async def end(self) -> tuple[int, bytes, bytes]:
        """Wait for the end; return exit code and what is left of stdout and stderr."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        out, err = await asyncio.gather(self.process.stdout.read(), self.process.stderr.read())
        return await self.process.wait(), out, err


@asynccontextmanager
async def pipe(home: Path) -> AsyncGenerator[Pipe, None]:
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), asyncio.subprocess.PIPE)
    process = await asyncio.create_subprocess_exec(sys.executable, *SERVE, str(home), limit=2**20, **streams)
    try:
        async with asyncio.timeout(60):
            yield Pipe(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("how", ["eof", "SIGTERM", "SIGINT"])
async def test_stdio_ends_without_a_word_and_hands_its_runs_over(how: str, tmp_path: Path) -> None:
    async with pipe(tmp_path) as server:
        await server.send(HELLO)
        assert (await server.read())["result"]["protocolVersion"] == "2025-06-18"
        await server.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        code = "from stepwell import ctx\nprint('noise on stdout')\nctx.step('work', __import__('time').sleep, 1)\n5"
        await server.send(request(2, "run_code", code=code, wait_seconds=0))
        started = (await server.read())["result"]["structuredContent"]
        if how == "eof":
            assert server.process.stdin is not None
            server.process.stdin.close()
        else:
            server.process.send_signal(getattr(signal, how))
        code_of_exit, out, err = await server.end()
    assert (code_of_exit, out, err) == (0, b"", b"")
    async with in_memory(tmp_path, "auto") as client:
        run = await call(client, "get_run", run_id=started["run_id"], wait_seconds=45)
        assert (run["status"], run["output"]) == ("completed", 5)


async def test_stdio_survives_what_is_no_message(tmp_path: Path) -> None:
    too_long = json.dumps(request(44, "run_code", code="x" * 17_000_000)).encode()
    async with pipe(tmp_path) as server:
        await server.send(HELLO)
        await server.read()
        for bad in (b"nonsense", b"", b"[" * 100_000, b"\xff\xfe\x00", b'{"jsonrpc": "2.0", "id": 3}'):
            await server.send(bad)
        await server.send(too_long.replace(b'"id": 44, ', b"").replace(b'{"jsonrpc"', b'{"id": 44, "jsonrpc"'))
        refused = await server.read()
        while refused.get("id") != 44:
            refused = await server.read()
        assert "longer than" in str(refused["error"])
        await server.send(request(5, "get_guide", topic="tools"))
        answer = await server.read()
        assert (answer["id"], answer["result"]["isError"]) == (5, False)


async def test_http_answers_health_and_refuses_foreign_hosts(tmp_path: Path) -> None:
    async with http_server(tmp_path) as url, httpx2.AsyncClient() as http:
        base = url.removesuffix("/mcp")
        assert (await http.get(f"{base}/health")).json() == {"status": "ok"}
        headers = {"accept": "application/json, text/event-stream", "host": "evil.example"}
        assert (await http.post(url, json=HELLO, headers=headers)).status_code == 421
        headers = {"accept": "application/json, text/event-stream", "origin": "http://evil.example"}
        assert (await http.post(url, json=HELLO, headers=headers)).status_code == 403
        big = await http.post(url, content=b'{"x": "' + b"x" * 5_000_000 + b'"}', headers={"accept": "*/*"})
        assert big.status_code == 413


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_http_with_a_token_serves_only_those_who_have_it(mode: str, tmp_path: Path) -> None:
    async with over_http(tmp_path / "client", mode, token=TOKEN) as client:
        assert (await call(client, "list_workflows"))["total"] == 0
    async with http_server(tmp_path / "raw", token=TOKEN) as url, httpx2.AsyncClient() as http:
        accept = {"accept": "application/json, text/event-stream"}
        for bad in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}, {"authorization": "Bearer"}):
            answer = await http.post(url, json=HELLO, headers=accept | bad)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
        assert (await http.get(url.replace("/mcp", "/health"))).status_code == 200
        fine = await http.post(url, json=HELLO, headers=accept | {"authorization": f"Bearer {TOKEN}"})
        assert fine.status_code == 200


@pytest.mark.parametrize(("host", "token"), [("0.0.0.0", ""), ("::", ""), ("127.0.0.1", "short")])
async def test_http_does_not_start_unprotected(host: str, token: str, tmp_path: Path) -> None:
    shown = f"[{host}]" if ":" in host else host
    process = await asyncio.create_subprocess_exec(
        sys.executable, *SERVE, str(tmp_path), "--http", f"{shown}:0",
        stderr=asyncio.subprocess.PIPE, env=os.environ | {"STEPWELL_HTTP_TOKEN": token},
    )  # fmt: skip
    async with asyncio.timeout(60):
        _, err = await process.communicate()
    assert process.returncode not in (0, None)
    assert re.search(rb"export STEPWELL_HTTP_TOKEN=\S{20,}", err)
    assert b"Traceback" not in err


async def test_http_ends_on_a_signal_while_a_client_listens(tmp_path: Path) -> None:
    server = http_server(tmp_path)
    url = await server.__aenter__()
    async with httpx2.AsyncClient(timeout=30) as http:
        accept = {"accept": "application/json, text/event-stream"}
        first = await http.post(url, json=HELLO, headers=accept)
        session = {"mcp-session-id": first.headers["mcp-session-id"]}
        async with http.stream("GET", url, headers=accept | session) as stream:
            assert stream.status_code == 200
            await server.__aexit__(None, None, None)
