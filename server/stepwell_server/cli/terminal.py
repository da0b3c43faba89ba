"""Lines typed by a person, read without holding up the event loop."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Generator

if sys.platform != "win32":
    import termios

MAX_LINE = 64 * 1024  # bytes; a terminal's own limit is smaller


def is_interactive() -> bool:
    """Whether there is a person to ask: both what is asked and what is answered are at a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


class LineReader:
    """Reads stdin line by line; a wait for a line can be cancelled, which a thread's could not."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()

    async def line(self, seconds: float) -> str | None:
        """Return the next line, None at the end of the input.

        Raises:
            TimeoutError: none came in so many seconds; the next call goes on waiting.
        """
        async with asyncio.timeout(seconds):
            return await self._lines.get()

    def drop(self) -> None:
        """Forget what was typed before a question was shown: it was no answer to it."""
        while not self._lines.empty():
            if self._lines.get_nowait() is None:
                self._lines.put_nowait(None)
                break
        if sys.platform != "win32":
            with contextlib.suppress(termios.error):
                termios.tcflush(self._descriptor, termios.TCIFLUSH)

    def _read(self) -> None:
        # A terminal in its normal mode gives one line per read, and nothing at Ctrl-D.
        try:
            data = os.read(self._descriptor, MAX_LINE)
        except OSError:
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._descriptor)
        self._lines.put_nowait(data.decode("utf-8", "replace").rstrip("\r\n") if data else None)

    @contextlib.contextmanager
    def reading(self) -> Generator["LineReader"]:
        """Watch the descriptor as long as the block lasts."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._descriptor, self._read)
        try:
            yield self
        finally:
            loop.remove_reader(self._descriptor)
