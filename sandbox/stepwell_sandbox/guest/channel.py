"""The guest's end of the socket to its host."""

import json
import os
import select
import threading
from typing import Any

from stepwell.sdk.quick_json import quick_encoder
from stepwell_sandbox.wire import HEADER

READ_BYTES = 65536
# Values come from the codec, which has no lone surrogates; texts of errors and logs may have.
_to_json = quick_encoder(json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False))
_decoder: Any = json.JSONDecoder()
_from_json = _decoder.scan_once
LOOKS = 100
"""For an answer before this end sleeps, some 50 us in all: an idle core takes as long to wake up."""
MOST_SKIPPED = 1023
"""Waits that begin with sleep, after looking was in vain again and again."""


class Channel:
    """Frames over one stream socket. Any thread may send; one thread at a time may receive."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._lock = threading.Lock()
        self._buffer = bytearray()
        self._mark: tuple[int, str] | None = None
        self._skip = self._skipped = 0
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._waker, self._waking = os.pipe()
        os.set_blocking(self._waker, False)
        self._poll.register(self._waker, select.POLLIN)

    def send(self, frame: dict[str, Any]) -> None:
        """Write one frame; blocks while the host does not read."""
        with self._lock:
            mark, self._mark = self._mark, None
            if mark is None:
                self._write(frame)
            elif frame["t"] == "call":
                frame["mark"], frame["marked"] = mark
                self._write(frame)
            else:
                self._write(_mark(*mark), frame)

    def mark(self, n: int, key: str) -> None:
        """Say that the outcome of `key` is the `n`-th delivered: in the next frame, or before this end waits.

        Nothing depends on it earlier, and each write wakes the host.
        """
        with self._lock:
            if self._mark is not None:
                self._write(_mark(*self._mark))
            self._mark = n, key

    def flush(self) -> None:
        """Write the mark that was kept back."""
        with self._lock:
            if self._mark is not None:
                self._write(_mark(*self._mark))
                self._mark = None

    def _write(self, *frames: dict[str, Any]) -> None:
        data = b""
        for frame in frames:
            text = _to_json(frame).encode("utf-8", "replace")
            data += HEADER.pack(len(text)) + text
        written = os.write(self.fd, data)
        if written < len(data):
            view = memoryview(data)[written:]
            while view:
                view = view[os.write(self.fd, view) :]

    def receive(self, timeout_s: float | None = None) -> list[dict[str, Any]]:
        """Return the frames that have arrived, waiting for some; empty after a timeout or a `wake`."""
        if self._buffer and (frames := self._split()):
            return frames
        if self._mark is not None:
            self.flush()
        if timeout_s:
            self.arrives_soon()
        ready = self._poll.poll(None if timeout_s is None else max(0, int(timeout_s * 1000)))
        for fd, _ in ready:
            if fd == self._waker:
                os.read(self._waker, READ_BYTES)
            else:
                self._fill()
        return self._split() if self._buffer else []

    def arrives_soon(self) -> bool:
        """Look for some microseconds whether something arrives.

        Where that was in vain, twice as many waits as before go without it: what the host does takes longer, or it
        waits for this core.
        """
        if self._skipped < self._skip:
            self._skipped += 1
            return False
        poll, self._skipped = self._poll.poll, 0
        for _ in range(LOOKS):
            if poll(0):
                self._skip = 0
                return True
        self._skip = min(2 * self._skip + 1, MOST_SKIPPED)
        return False

    def wake(self) -> None:
        """Make a waiting `receive` return; from any thread."""
        os.write(self._waking, b"\0")

    def close(self) -> None:
        """Let go of all but the socket."""
        os.close(self._waker)
        os.close(self._waking)

    def _fill(self) -> None:
        data = os.read(self.fd, READ_BYTES)
        if not data:
            os._exit(0)  # the host is gone, so is the reason to run
        self._buffer += data

    def _split(self) -> list[dict[str, Any]]:
        frames: list[dict[str, Any]] = []
        start = 0
        buffer = self._buffer
        while len(buffer) - start >= HEADER.size:
            (size,) = HEADER.unpack_from(buffer, start)
            end = start + HEADER.size + size
            if len(buffer) < end:
                break
            frames.append(_from_json(str(buffer[start + HEADER.size : end], "utf-8"), 0)[0])
            start = end
        if start:
            del buffer[:start]
        return frames


def _mark(n: int, key: str) -> dict[str, Any]:
    return {"t": "mark", "n": n, "key": key}
