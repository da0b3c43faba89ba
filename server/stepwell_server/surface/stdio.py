"""Serving over stdin and stdout: one client, which started this process."""

import json
import os
import re
import signal
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio
from mcp.server.stdio import stdio_server

from stepwell_server.app import App
from stepwell_server.surface.logs import configure_logs
from stepwell_server.surface.server import StepwellServer, open_server

MAX_LINE = 16 * 1024 * 1024  # bytes of one message
CHUNK = 64 * 1024
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
LOOK = 4096  # bytes at the beginning of a message that is too long, in which its id is looked for
REQUEST_ID = re.compile(rb'"id"\s*:\s*("[^"\\]{1,200}"|\d{1,18})')


async def serve_stdio(app: App) -> None:
    """Serve until the client closes stdin or the process is told to stop by SIGTERM or SIGINT.

    Runs go on as long as `app` is open; leaving it hands them over.
    """
    configure_logs()
    async with open_server(app) as server, anyio.create_task_group() as tasks:
        tasks.start_soon(_stop_on_signal, tasks.cancel_scope)
        try:
            await _serve(server)
        except* (BrokenPipeError, ConnectionResetError):
            pass  # the client is gone, as with a closed stdin
        tasks.cancel_scope.cancel()


async def _serve(server: StepwellServer) -> None:
    with _private_stdin() as descriptor:
        lines = _Lines(descriptor)
        async with stdio_server(stdin=lines) as (reader, writer):  # pyright: ignore[reportArgumentType]  only iterated
            await server.serve_streams(reader, writer)


async def _stop_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(*STOP_SIGNALS) as signals:
        async for _ in signals:
            scope.cancel()
            return


@contextmanager
def _private_stdin() -> Generator[int, None, None]:
    """Take fd 0 away, so that no child process and no library reads the client's messages."""
    descriptor = os.dup(sys.stdin.fileno())
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, sys.stdin.fileno())
    os.close(nothing)
    try:
        yield descriptor
    finally:
        os.dup2(descriptor, sys.stdin.fileno())
        # Not closed: the reading thread may still block on it.


class _Lines:
    """Lines of a descriptor, read by a daemon thread.

    The SDK's own reader cannot be cancelled while it waits for a line, so a signal would not end the process.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def __aiter__(self) -> AsyncIterator[str]:
        async with self._open() as lines:
            async for line in lines:
                yield line

    @asynccontextmanager
    async def _open(self) -> AsyncGenerator[Any, None]:
        send, receive = anyio.create_memory_object_stream[str](16)
        token = anyio.lowlevel.current_token()

        def read() -> None:
            try:
                for line in read_lines(self._descriptor):
                    anyio.from_thread.run(send.send, line, token=token)
                anyio.from_thread.run_sync(send.close, token=token)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, RuntimeError):
                return  # serving has ended

        threading.Thread(target=read, name="stdin", daemon=True).start()
        async with receive:
            yield receive


def read_lines(descriptor: int) -> Generator[str, None, None]:
    """Give the lines of a descriptor until its end; instead of one that is too long, what answers its request."""
    pending = bytearray()
    stand_in: str | None = None
    while chunk := os.read(descriptor, CHUNK):
        pending += chunk
        while (end := pending.find(b"\n")) >= 0:
            line = pending[:end].decode("utf-8", "replace")
            del pending[: end + 1]
            yield line if stand_in is None else stand_in
            stand_in = None
        if len(pending) > MAX_LINE:
            stand_in = stand_in or _refusal(bytes(pending[:LOOK]))
            pending.clear()


def _refusal(beginning: bytes) -> str:
    # A request of an unknown method: the SDK answers it with an error that shows the method's name.
    found = REQUEST_ID.search(beginning)
    request_id = json.loads(found[1]) if found else 0
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "method": f"message longer than {MAX_LINE} bytes"})
