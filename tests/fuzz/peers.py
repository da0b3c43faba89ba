"""A sandbox whose processes are scripts at the other end of a real socket, for the host's side of runs."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from fuzz.frames import framed
from stepwell.ports.limits import Limits
from stepwell_sandbox.channel import Channel
from stepwell_sandbox.process import ConfinedProcess, Reaped

READY = framed(b'{"t":"ready","protocol":1}')
KILLED, EXITED = 9, 0  # as of wait(2)


class Peer:
    """Implements `Body`: sends a script and reads what it is told, or reads nothing."""

    def __init__(self, stream: socket.socket, sent: Iterable[bytes], *, reads: bool) -> None:
        self.ended: asyncio.Future[Reaped] = asyncio.get_running_loop().create_future()
        self._stream = stream
        self._sent = sent
        stream.setblocking(False)
        self._tasks = [asyncio.create_task(self._talk()), *([asyncio.create_task(self._read())] if reads else [])]

    shared_bytes = 0

    def resident_bytes(self) -> int:
        return 0

    def kill(self) -> None:
        self._end(KILLED)

    async def clean(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        self._stream.close()

    async def _talk(self) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            for data in self._sent:
                await loop.sock_sendall(self._stream, data)
        self._end(EXITED)

    async def _read(self) -> None:
        with suppress(OSError):
            while await asyncio.get_running_loop().sock_recv(self._stream, 65536):
                pass

    def _end(self, status: int) -> None:
        if not self.ended.done():
            self.ended.set_result(Reaped(status))
            with suppress(OSError):
                self._stream.shutdown(socket.SHUT_RDWR)


async def open_peer(sent: Iterable[bytes], limits: Limits | None = None, *, reads: bool = True) -> ConfinedProcess:
    """Return a process that sends `Ready` and the script."""
    ours, theirs = socket.socketpair()
    channel = Channel(limits or Limits())
    await channel.open(ours)
    process = ConfinedProcess(
        "none", limits or Limits(), channel, Peer(theirs, (READY, *sent), reads=reads), lambda: None
    )
    await process.become_ready()
    return process


class Peers:
    """Implements `Sandbox`; `script` gives what the next process sends, and whether it reads."""

    level = "none"

    def __init__(self, script: Callable[[], tuple[Iterable[bytes], bool]]) -> None:
        self._script = script

    async def open(self, limits: Limits, packages: Path | None = None) -> ConfinedProcess:
        sent, reads = self._script()
        return await open_peer(sent, limits, reads=reads)


def descriptors() -> int:
    """Return how many this process has open."""
    return len(os.listdir("/proc/self/fd"))
