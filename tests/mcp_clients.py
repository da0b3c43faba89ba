"""Real MCP clients of a real server: in memory, over stdio, over HTTP; in both eras of the protocol."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, TextContent

from stepwell_server.app import App, open_app
from stepwell_server.surface.server import open_server
from support.forked import Forked

SERVE = ("-m", "stepwell_server.cli", "serve", "--home")
MODES = ("auto", "legacy")
LIMIT_S = 60.0

ASK = '''"""Translate a text after asking for the language."""
from stepwell import WorkflowContext


async def run(ctx: WorkflowContext, text: str) -> dict:
    """Args:
        text: What is translated
    """
    prepared = await ctx.step("prepare", text.upper)
    language = await ctx.wait_for_user(
        "Which language?",
        input_type="select",
        options=[{"id": "en", "label": "English"}, {"id": "nl", "label": "Dutch"}],
    )
    await ctx.approve("Publish it?", {"text": prepared, "language": language})
    return {"text": prepared, "language": language}
'''
ADD = '''"""Add two numbers."""


def run(left: int, right: int = 1) -> dict:
    """Add two numbers.

    Args:
        left: The first number
        right: The second number

    Returns:
        Their sum
    """
    print("adding", left, right)
    return {"sum": left + right}
'''

Connect = Callable[..., AbstractAsyncContextManager[Client]]


@asynccontextmanager
async def in_memory(home: Path, mode: str, **options: Any) -> AsyncGenerator[Client, None]:
    async with open_app(home) as app, connect(app, mode, **options) as client:
        yield client


@asynccontextmanager
async def connect(app: App, mode: str = "auto", **options: Any) -> AsyncGenerator[Client, None]:
    """Connect to an app of this process."""
    async with asyncio.timeout(LIMIT_S), open_server(app) as server, Client(server, mode=mode, **options) as client:
        yield client


@asynccontextmanager
async def over_stdio(home: Path, mode: str, **options: Any) -> AsyncGenerator[Client, None]:
    server = StdioServerParameters(command=sys.executable, args=[*SERVE, str(home)])
    async with asyncio.timeout(LIMIT_S), Client(server, mode=mode, **options) as client:
        yield client


@asynccontextmanager
async def over_http(home: Path, mode: str, *, token: str = "", **options: Any) -> AsyncGenerator[Client, None]:
    async with http_server(home, token=token) as url:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        # No read timeout: a live question keeps its response open.
        async with (
            asyncio.timeout(LIMIT_S),
            httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(10, read=None)) as http,
            Client(streamable_http_client(url, http_client=http), mode=mode, **options) as client,
        ):
            yield client


@asynccontextmanager
async def http_server(home: Path, *, token: str = "", host: str = "127.0.0.1") -> AsyncGenerator[str, None]:
    """Run a server in a process of its own; give its URL once it listens."""
    environment = os.environ | {"STEPWELL_HTTP_TOKEN": token}
    process, reading = _start(["serve", "--home", str(home), "--http", f"{host}:0"], environment)
    stderr = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stderr), os.fdopen(reading, "rb")
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            yield await _address(stderr)
    finally:
        process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(process.wait, LIMIT_S)
        async with asyncio.timeout(LIMIT_S):
            said = await stderr.read()
    assert (code, b"Traceback" in said) == (0, False), said.decode()


def _start(words: list[str], environment: dict[str, str]) -> tuple[Forked, int]:
    """Return a process, and the descriptor from which its stderr is read."""
    reading, writing = os.pipe()
    with Path(os.devnull).open("r+b") as nothing, os.fdopen(writing, "wb") as errors:
        process = Forked(words, environment, nothing.fileno(), nothing.fileno(), errors.fileno())
    return process, reading


async def _address(stderr: asyncio.StreamReader) -> str:
    seen = b""
    while line := await stderr.readline():
        seen += line
        if found := re.search(rb"listening on (http://\S+)", line):
            return found[1].decode()
    raise AssertionError(f"the server did not start: {seen.decode()}")


CONNECTIONS: dict[str, Connect] = {"memory": in_memory, "stdio": over_stdio, "http": over_http}


async def call(client: Client, tool: str, /, **arguments: Any) -> dict[str, Any]:
    """Call a tool that must succeed and return its object."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, text_of(result)
    return value_of(result)


async def refused(client: Client, tool: str, /, **arguments: Any) -> dict[str, Any]:
    """Call a tool that must answer with an error and return that error."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error, text_of(result)
    error: dict[str, Any] = value_of(result)["error"]
    assert {"type", "code", "message", "hint"} <= error.keys()
    assert len(text_of(result)) <= 2_500
    return error


def value_of(result: CallToolResult) -> dict[str, Any]:
    """Return the object of a result: the same in text and structure."""
    parsed: dict[str, Any] = json.loads(text_of(result))
    assert result.structured_content == parsed
    assert len(text_of(result).encode()) <= 20_000
    return parsed


def text_of(result: CallToolResult) -> str:
    """Return the one text block of a result."""
    [block] = result.content
    assert isinstance(block, TextContent)
    return block.text
