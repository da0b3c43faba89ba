"""What a guest writes to descriptors 1 and 2 past Python's streams: compiled modules, and the trace of a crash."""

import asyncio
import os
from collections.abc import Callable

READ_BYTES = 16 * 1024
KEPT_BYTES = 64 * 1024
"""Reading pauses when so much waits to be taken; the writer then waits as soon as its pipe is full."""
LINE_BYTES = 8192
"""Longer lines are cut."""


class Written:
    """The reading end of the pipe of one process. Every byte in it is hostile."""

    def __init__(self, fd: int, on_bytes: Callable[[], None]) -> None:
        self._fd: int | None = fd
        self._on_bytes = on_bytes
        self._bytes = bytearray()
        self._watched = False

    def watch(self) -> None:
        """Read what arrives from now on, as long as it is taken."""
        if not self._watched and self._fd is not None and len(self._bytes) < KEPT_BYTES:
            self._watched = True
            asyncio.get_running_loop().add_reader(self._fd, self._read)

    @property
    def waiting(self) -> bool:
        """Whether there is something to take."""
        return bool(self._bytes)

    def take(self, most: int, *, all_of_it: bool = False) -> list[str]:
        """Return lines that have an end, at most so many; with `all_of_it` what is left behind them as one more."""
        if all_of_it:
            self._unwatch()
            while len(self._bytes) < 2 * KEPT_BYTES and self._more():
                continue
        if not self._bytes:
            return []
        *ended, rest = self._bytes.split(b"\n", most)
        more = b"\n" in rest
        if (all_of_it and rest) or (len(rest) > LINE_BYTES and not more):
            ended, rest = [*ended, rest], bytearray()
        self._bytes = rest
        if not all_of_it:
            self.watch()
            if more:
                self._on_bytes()
        return [_text(line) for line in ended]

    def drop(self) -> int:
        """Forget what waits to be taken, and return how many lines that were."""
        lines = self._bytes.count(b"\n")
        self._bytes.clear()
        self.watch()
        return lines

    def close(self) -> None:
        """Let go of the pipe."""
        self._unwatch()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _read(self) -> None:
        self._more()
        if len(self._bytes) >= KEPT_BYTES:
            self._unwatch()
        self._on_bytes()

    def _more(self) -> bool:
        """Read once; False if there is nothing, or never will be."""
        if self._fd is None:
            return False
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self.close()
        self._bytes += data
        return bool(data)

    def _unwatch(self) -> None:
        if self._watched and self._fd is not None:
            self._watched = False
            asyncio.get_running_loop().remove_reader(self._fd)


def _text(line: bytearray) -> str:
    text = line[:LINE_BYTES].decode("utf-8", "backslashreplace")
    return text if len(line) <= LINE_BYTES else f"{text} [cut: {len(line)} bytes]"
