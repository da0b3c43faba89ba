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

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
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


@asynccontextmanager
async def open_streams(
    child: Child,
) -> AsyncGenerator[
    tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]], None
]:
    """Give what the SDK's client reads from and writes to."""
    to_client, from_server = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    to_server, from_client = anyio.create_memory_object_stream[SessionMessage](0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_read, child, to_client)
        tasks.start_soon(_write, child, from_client)
        try:
            yield from_server, to_server
        finally:
            tasks.cancel_scope.cancel()
            for stream in (from_server, to_server, to_client, from_client):
                stream.close()


async def _read(child: Child, to_client: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
    try:
        async with to_client:
            async for message in _messages(child):
                await to_client.send(message)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return  # the client is gone
    finally:
        child.ended.set()


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


async def _write(child: Child, from_client: MemoryObjectReceiveStream[SessionMessage]) -> None:
    stdin = child.process.stdin
    assert stdin is not None
    async with from_client:
        async for message in from_client:
            text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
            try:
                stdin.write(text.encode() + b"\n")
                await stdin.drain()
            except OSError:
                child.ended.set()
                return


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
