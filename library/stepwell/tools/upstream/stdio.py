"""An MCP server as a child process: one JSON message a line, bounded in length, gone with its connection.

The SDK's transport keeps a line of any length in memory, and gives the server this process's error output.
"""

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import anyio
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp.types import PARSE_ERROR, ErrorData, JSONRPCError, jsonrpc_message_adapter

from stepwell.tools.messages import clean
from stepwell.tools.upstream.wire import MAX_MESSAGE_BYTES, NO_JSON, TOO_LARGE

CHUNK = 256 * 1024  # bytes read at one time
ERRORS_BYTES = 4096  # of the end of its error output are kept
GRACE_S = 2.0  # to end by itself when its input is closed, and again after SIGTERM
LAST_WORDS_S = 0.2
LARGE_LINE = 128 * 1024  # bytes; longer ones are parsed in a thread
_TOO_LONG = f"its answer is longer than {MAX_MESSAGE_BYTES} bytes"
_ID = re.compile(rb'\{\s*(?:"jsonrpc"\s*:\s*"2.0"\s*,\s*)?"id"\s*:\s*(\d+|"[^"\\]{1,200}")')


@dataclass(slots=True)
class Child:
    """One process of a server."""

    process: asyncio.subprocess.Process
    said: bytearray = field(default_factory=bytearray)
    """The end of its error output."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Nothing more can come from it."""
    silent: asyncio.Event = field(default_factory=asyncio.Event)
    """Its error output has ended."""

    async def last_words(self) -> str:
        """Return the end of its error output, made harmless; what is on its way is waited for shortly."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await self.silent.wait()
        return clean(self.said.decode("utf-8", "replace"), 600)


@asynccontextmanager
async def run_child(
    words: Sequence[str], environment: Mapping[str, str], directory: Path | None
) -> AsyncGenerator[Child, None]:
    """Start the server; on exit its whole process group is gone.

    Raises:
        OSError: it cannot be started.
    """
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=directory,
        env={**get_default_environment(), **environment},
        start_new_session=True,
        limit=CHUNK,
    )
    child = Child(process)
    listening = asyncio.create_task(_keep_end(child))
    try:
        yield child
    finally:
        stopping = asyncio.create_task(_stop(child, listening))
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:  # who is in a hurry waits all the same: it is bounded, and no process is left
            await asyncio.wait([stopping])
            raise


class Replies:
    """What a server says, for the SDK's client to read from."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._messages = _messages(child)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await anext(self._messages)
        except BaseException:
            self._child.ended.set()
            raise

    async def receive(self) -> SessionMessage | Exception:
        """Return the next message."""
        try:
            return await anext(self)
        except StopAsyncIteration:
            raise anyio.EndOfStream from None

    async def aclose(self) -> None:
        """Read no more."""
        self._child.ended.set()
        await self._messages.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class Requests:
    """What goes to a server, for the SDK's client to write to."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._turn = asyncio.Lock()

    async def send(self, item: SessionMessage) -> None:
        """Write one message, when those before have been taken."""
        stdin = self._child.process.stdin
        assert stdin is not None
        text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
        try:
            async with self._turn:
                stdin.write(text.encode() + b"\n")
                await stdin.drain()
        except OSError as error:
            self._child.ended.set()
            raise anyio.BrokenResourceError from error

    async def aclose(self) -> None:
        """Nothing more will be written; the child's input is closed when it is stopped."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


async def _messages(child: Child) -> AsyncGenerator[SessionMessage | Exception, None]:
    stdout = child.process.stdout
    assert stdout is not None
    line = bytearray()
    head = b""  # of a line that is too long, whose rest is thrown away
    while chunk := await stdout.read(CHUNK):
        *whole, rest = chunk.split(b"\n")
        for part in whole:
            if head:
                if (refused := _refuse(head, TOO_LARGE, _TOO_LONG)) is None:
                    return  # nobody can tell whose answer it was: all calls of this process are lost
                yield refused
            elif line or part.strip():
                yield await _parse(bytes(line + part))
            line.clear()
            head = b""
        if not head:
            line += rest
            if len(line) > MAX_MESSAGE_BYTES:
                head = bytes(line[:4096])
                line.clear()


async def _parse(line: bytes) -> SessionMessage | Exception:
    try:
        if len(line) < LARGE_LINE:
            return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
        message = await asyncio.to_thread(jsonrpc_message_adapter.validate_json, line, by_name=False)
        return SessionMessage(message)
    except ValueError as error:
        return _refuse(line[:4096], PARSE_ERROR, f"{NO_JSON}: {clean(str(error), 200)}") or error


def _refuse(head: bytes, code: int, said: str) -> SessionMessage | None:
    """Return an error in place of an answer whose beginning tells which call it is for."""
    found = _ID.match(head)
    if found is None or b'"method"' in head:
        return None
    error = ErrorData(code=code, message=said)
    return SessionMessage(JSONRPCError(jsonrpc="2.0", id=json.loads(found[1]), error=error))


async def _keep_end(child: Child) -> None:
    stderr = child.process.stderr
    assert stderr is not None
    while data := await stderr.read(CHUNK):
        child.said += data
        del child.said[:-ERRORS_BYTES]
    child.silent.set()


async def _stop(child: Child, listening: "asyncio.Task[None]") -> None:
    process = child.process
    if process.stdin is not None:
        process.stdin.close()
    for number in (None, signal.SIGTERM, signal.SIGKILL):
        if number is not None:
            _signal(process.pid, number)
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await _drain(process)
                await process.wait()
                break
    _signal(process.pid, signal.SIGKILL)  # what it has left running
    listening.cancel()


async def _drain(process: asyncio.subprocess.Process) -> None:
    # One that writes while nobody reads could not end.
    while process.stdout is not None and await process.stdout.read(CHUNK):
        continue


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # PermissionError: macOS, for a group of zombies
        os.killpg(group, number)
