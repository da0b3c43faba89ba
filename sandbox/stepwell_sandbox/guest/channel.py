"""The guest's end of the socket to its host."""

import json
import os
import select
import threading
from typing import Any

from stepwell_sandbox.wire import HEADER

READ_BYTES = 65536
# Values come from the codec, which has no lone surrogates; texts of errors and logs may have.
_to_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False).encode


class Channel:
    """Frames over one stream socket. Any thread may send; one thread at a time may receive."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._lock = threading.Lock()
        self._buffer = bytearray()
        self._unsent = b""
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)
        self._waker, self._waking = os.pipe()
        os.set_blocking(self._waker, False)
        self._poll.register(self._waker, select.POLLIN)

    def send(self, frame: dict[str, Any], *, later: bool = False) -> None:
        """Write one frame; blocks while the host does not read.

        One that is sent `later` is written with the next, or before this end waits: each write wakes the host.
        """
        data = _to_json(frame).encode("utf-8", "replace")
        with self._lock:
            self._unsent += HEADER.pack(len(data)) + data
            if not later:
                self._write()

    def flush(self) -> None:
        """Write what was to be sent later."""
        if self._unsent:
            with self._lock:
                self._write()

    def _write(self) -> None:
        view, self._unsent = memoryview(self._unsent), b""
        while view:
            view = view[os.write(self.fd, view) :]

    def receive(self, timeout_s: float | None = None) -> list[dict[str, Any]]:
        """Return the frames that have arrived, waiting for some; empty after a timeout or a `wake`."""
        frames = self._split()
        if frames:
            return frames
        self.flush()
        ready = self._poll.poll(None if timeout_s is None else max(0, int(timeout_s * 1000)))
        for fd, _ in ready:
            if fd == self._waker:
                os.read(self._waker, READ_BYTES)
            else:
                self._fill()
        return self._split()

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
            frames.append(json.loads(bytes(buffer[start + HEADER.size : end])))
            start = end
        if start:
            del buffer[:start]
        return frames
