"""The byte stream to one guest: framing, length caps, and flow control in both directions."""

import asyncio
import re
import socket
from collections.abc import Callable
from typing import cast

from stepwell.errors import LimitExceeded, ProtocolViolation, RunError
from stepwell.model.sizes import show_size
from stepwell.model.text import clean_text
from stepwell.ports.limits import MAX_FRAME_BYTES, Limits
from stepwell_sandbox.wire import HEADER

HEAD_BYTES = 1000
"""Of a frame that is too large, looked at for what it is."""
_KIND, _NAME = re.compile(r'"t":"(\w{1,20})"'), re.compile(r'"name":"([^"]{1,60})')
UNREAD_BYTES = 256 * 1024
"""Reading pauses when more than this has arrived and a frame is complete."""
UNSENT_BYTES = 1024 * 1024
"""Sending waits while the guest has left more than this unread."""
SMALL_BYTES = 64 * 1024
"""An answer of at most so many is queued without waiting behind it, if nothing waits in front of it."""
WAITING_BYTES = 128 * 1024 * 1024
"""Answers that wait for their turn to be sent: a guest that leaves more is ended, before they fill the host."""


class Channel(asyncio.Protocol):
    """Holds what has arrived until it is taken, as whole frames."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.ended = False
        self.crossed: str | None = None
        """The field of `limits` that was crossed."""
        self._buffer = bytearray()
        self._total = 0
        self._paused = False
        self._failure: RunError | None = None
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._sending = asyncio.Lock()
        self._waiting = 0
        self._senders = 0

    # -- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=UNSENT_BYTES)

    def data_received(self, data: bytes) -> None:
        """Keep bytes; stop reading while enough of them wait."""
        self._buffer += data
        self._total += len(data)
        if self._total > self.limits.total_bytes:
            self.crossed = "total_bytes"
            self._fail(
                LimitExceeded(
                    f"one process of the run sent more than total_bytes = {self.limits.total_bytes} to its host",
                    limit="total_bytes",
                )
            )
        elif not self._paused and len(self._buffer) > UNREAD_BYTES and self._has_frame():
            self._paused = True
            self._transport.pause_reading()
        self._arrived.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake everybody who waits."""
        self.ended = True
        self._arrived.set()
        self._writable.set()

    def pause_writing(self) -> None:
        """Make senders wait."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let senders go on."""
        self._writable.set()

    # -- called by the process

    async def open(self, stream: socket.socket) -> None:
        """Take over a connected stream socket."""
        try:
            stream.setblocking(False)
            self._stream = stream
            await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=stream)
        except BaseException:
            stream.close()
            raise

    def wake(self) -> None:
        """Make `wait` return: something happened beside this stream."""
        self._arrived.set()

    async def wait(self) -> None:
        """Wait until something happened since the last `take`."""
        if not self._arrived.is_set():
            await self._arrived.wait()

    def take(self, max_frames: int, max_bytes: int) -> list[bytes]:
        """Return the frames that are complete, at least one where there is one and then up to the bounds.

        Raises:
            ProtocolViolation: a length no frame can have.
            LimitExceeded: one over `frame_bytes`, or over `total_bytes` in all.
        """
        self._arrived.clear()
        if self._failure:
            self._arrived.set()
            raise self._failure
        frames: list[bytes] = []
        at, end = 0, min(max_bytes, len(self._buffer))
        with memoryview(self._buffer) as view:
            while len(frames) < max_frames and at < end and (length := self._frame_at(at)) is not None:
                at += HEADER.size + length
                frames.append(bytes(view[at - length : at]))
        del self._buffer[:at]
        if self.ended or (self._buffer and self._has_frame()):
            self._arrived.set()
        if self._paused and len(self._buffer) <= UNREAD_BYTES and not self.ended:
            self._paused = False
            self._transport.resume_reading()
        return frames

    async def send(self, size: int, encode: Callable[[], bytes]) -> None:
        """Queue bytes in the order of calls, then wait until the guest has read most of what is queued.

        Args:
            size: About how many they are.
            encode: Makes them, when it is their turn: until then they exist once only.
        """
        if not self._senders and self._writable.is_set() and size <= SMALL_BYTES:
            self._write(encode)
            return  # the next one waits if this was too much
        self._waiting += size
        self._senders += 1
        try:
            if self._waiting > WAITING_BYTES:
                self._refuse_to_hold()
            if self._failure:
                return
            async with self._sending:
                if self._write(encode) and not self._writable.is_set():
                    await self._writable.wait()
        finally:
            self._waiting -= size
            self._senders -= 1

    def _write(self, encode: Callable[[], bytes]) -> bool:
        open_ = not self.ended and not self._failure and not self._transport.is_closing()
        if open_:
            data = encode()
            if not self._transport.get_write_buffer_size():
                data = self._send_now(data)
            if data:
                self._transport.write(data)
        return open_

    def _send_now(self, data: bytes) -> bytes:
        """Return what is not sent yet. The transport would take a turn of the event loop for all of it."""
        try:
            return data[self._stream.send(data) :]
        except BlockingIOError:
            return data
        except OSError:
            return b""  # the guest has ended, which the transport finds out by itself

    def _refuse_to_hold(self) -> None:
        self._fail(
            LimitExceeded(
                f"more than {WAITING_BYTES >> 20} MiB of answers wait because the workflow does not read them",
                hint="Make fewer calls with large results at one time.",
            )
        )
        self._arrived.set()

    def abort(self) -> None:
        """Close at once, dropping what is unsent."""
        self._transport.abort()

    def _frame_at(self, at: int) -> int | None:
        """Return the length of the complete frame at an offset, None if it is not complete."""
        if len(self._buffer) - at < HEADER.size:
            return None
        (length,) = HEADER.unpack_from(self._buffer, at)
        if length == 0:
            raise self._fail(ProtocolViolation("the guest sent an empty frame"))
        if length > (allowed := min(self.limits.frame_bytes, MAX_FRAME_BYTES)):
            self.crossed = "frame_bytes"
            raise self._fail(
                LimitExceeded(
                    f"{self._kind_at(at)}: {show_size(length)} are too much, the limit is frame_bytes = {allowed}",
                    limit="frame_bytes",
                )
            )
        return length if len(self._buffer) - at - HEADER.size >= length else None

    def _kind_at(self, at: int) -> str:
        """Return what the frame at an offset claims to carry, as far as it has arrived."""
        head = bytes(self._buffer[at + HEADER.size : at + HEADER.size + HEAD_BYTES]).decode("utf-8", "replace")
        kind, name = (found[1] if (found := field.search(head)) else "" for field in (_KIND, _NAME))
        named = f" {clean_text(name)!r}" if name else ""
        return {"done": "the result of the run", "step": f"the result of the step{named}"}.get(
            kind, f"the arguments of the call{named}" if kind == "call" else "a message"
        )

    def _has_frame(self) -> bool:
        try:
            return self._frame_at(0) is not None
        except RunError:
            return True

    def _fail(self, failure: RunError) -> RunError:
        self._failure = self._failure or failure
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()
        return self._failure
