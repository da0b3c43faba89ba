"""One guest process as the engine sees it. Every byte from it is hostile."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from stepwell.errors import LimitExceeded, ProtocolViolation, RunError, SandboxUnavailable
from stepwell.model.aside import Aside
from stepwell.model.text import clean_text, cut_text
from stepwell.ports.frames import (
    PROTOCOL,
    Call,
    Compiled,
    Drop,
    GuestFrame,
    HostFrame,
    Last,
    Log,
    Note,
    Outcome,
    Ready,
    Start,
    Step,
)
from stepwell.ports.limits import Limits
from stepwell.ports.sandbox import Exit
from stepwell_sandbox.channel import Channel
from stepwell_sandbox.decode import MAX_NODES, Unconfined, decode_first, decode_frame, harmless_text
from stepwell_sandbox.turns import turns
from stepwell_sandbox.wire import HEADER
from stepwell_sandbox.written import Written

ASIDE_BYTES = 16 * 1024
"""Larger frames are decoded in a thread."""
PENDING_BYTES = 64 * 1024 * 1024
"""What calls without an answer may take of the host's memory, about."""
PART_BYTES = 64
"""Of memory, for each part of a decoded value."""
LAST_LINES = 1000
"""Of what was written past the channel, taken at the end."""
CLOSE_S = 5.0
DYING_S = 0.5
"""How long a guest that closed its channel may take to be reaped before it is killed."""
LINE_COST = 16
"""Bytes that a line or note costs of `output_bytes` besides its text: empty ones are not free."""
CPU_SLACK_S = 1.0
"""The kernel checks the limit in whole seconds."""

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Reaped:
    """What is known of a process that has ended."""

    status: int | None
    """As of `wait(2)`, None if its zygote died before it could be reaped."""
    cpu_s: float = 0.0
    max_rss_bytes: int = 0
    limit: str | None = None


def _frames(messages: Iterable[HostFrame]) -> bytes:
    parts: list[bytes] = []
    for message in messages:
        data = _encode(message)
        parts += (HEADER.pack(len(data)), data)
    return b"".join(parts)


class DiedEarly(SandboxUnavailable):
    """A new process ended before it was confined: it was killed, or its zygote was."""


class Body(Protocol):
    """The operating system's side of a process."""

    @property
    def ended(self) -> asyncio.Future[Reaped]:
        """Done when it has been reaped."""
        ...

    @property
    def shared_bytes(self) -> int:
        """What it has from its zygote."""
        ...

    def resident_bytes(self) -> int:
        """Return the memory it has now, shared with others or not; 0 if unknown."""
        ...

    def kill(self) -> None:
        """Kill it and all it started; harmless when it has ended."""
        ...

    async def clean(self) -> None:
        """Remove what it left, after its end."""
        ...


class ConfinedProcess:
    """Implements `stepwell.ports.sandbox.GuestProcess`. Receive and send from different tasks."""

    def __init__(
        self,
        level: str,
        limits: Limits,
        channel: Channel,
        body: Body,
        on_violation: Callable[[], None],
        written: Written | None = None,
    ) -> None:
        self._level = level
        self._limits = limits
        self._channel = channel
        self._body = body
        self._on_violation = on_violation
        self._written = written
        self._failure: RunError | None = None
        self._limit: str | None = None
        self._started = False
        self._tells_code = False
        """The next frame may be what the source was compiled to: nothing of it has run."""
        self._finished = False
        self._silent = False
        """Nothing more is taken of what is written."""
        self._pending: dict[int, int] = {}
        self._pending_bytes = 0
        self._given_up: set[int] = set()
        """Calls of which the engine learns with the frames that are being taken up that nobody waits for them."""
        self._turns = turns()
        self._aside = Aside()
        self._output_left = self._notes_left = limits.output_bytes
        self._dropped = 0
        self._closing = asyncio.Lock()
        self._exit: Exit | None = None

    @property
    def level(self) -> str:
        """The isolation it really has."""
        return self._level

    @property
    def alive(self) -> bool:
        """Whether it can still be given a run."""
        return not self._channel.ended and not self._body.ended.done() and self._failure is None

    async def become_ready(self) -> None:
        """Wait for the first frame.

        Raises:
            SandboxUnavailable: the process could not be confined; `DiedEarly` if it may have been killed.
            ProtocolViolation: it is not ours.
        """
        while not (frames := self._channel.take(1, 1)):
            if self._channel.ended:
                raise DiedEarly("a new process ended before it was confined", hint="Run `stepwell doctor`.")
            await self._channel.wait()
        first = decode_first(frames[0])
        if isinstance(first, Unconfined):
            raise SandboxUnavailable(
                f"a process could not be confined: {clean_text(first.why)}", hint="Run `stepwell doctor`."
            )
        if first.protocol != PROTOCOL:
            raise ProtocolViolation(f"the guest speaks protocol {first.protocol}, the host {PROTOCOL}")

    def memory_bytes(self) -> int:
        """Return what it uses now, without what it has from the zygote; 0 if unknown."""
        return max(0, self._body.resident_bytes() - self._body.shared_bytes)

    def adopt(self, limits: Limits) -> None:
        """Take the limits of the run it is given to; those that the kernel keeps are the same."""
        self._limits = self._channel.limits = limits
        self._output_left = self._notes_left = limits.output_bytes

    async def receive(self) -> list[GuestFrame]:
        """Return the frames that have arrived, waiting for at least one; empty when the process has ended.

        Raises:
            ProtocolViolation: the guest sent what no honest guest sends; it is being killed.
            LimitExceeded: it sent more than its limits allow; it is being killed.
        """
        while True:
            await self._channel.wait()
            if self._turns.spent:
                await self._turns.wait()
            if self._failure:
                raise self._failure
            try:
                raw = self._channel.take(self._turns.frames, self._turns.bytes)
                self._turns.spend(len(raw), sum(map(len, raw)))
                self._given_up.clear()
                frames: list[GuestFrame] = []
                for data in raw:
                    if self._finished:
                        break  # threads may still print while the process ends
                    small = len(data) <= ASIDE_BYTES
                    frame = decode_frame(data) if small else await self._aside.run(len(data), decode_frame, data)
                    if (accepted := self._accept(frame, data)) is not None:
                        frames.append(accepted)
                frames = self._with_written(frames, over=not raw and self._channel.ended)
            except RunError as error:
                self._fail(error)
                raise
            if frames or (not raw and self._channel.ended):
                return frames

    async def send(self, *messages: HostFrame) -> None:
        """Queue messages; wait while the guest reads slower than its buffer allows. A dead guest is ignored."""
        size = 0
        for message in messages:
            if isinstance(message, Outcome):
                self.forget(message.id)
                size += 0 if message.value is None else len(memoryview(message.value))
            elif isinstance(message, Start):
                self._started, self._tells_code = True, message.tells_code
                if self._written is not None:
                    self._written.watch()
        await self._channel.send(size, lambda: _frames(messages))

    def forget(self, call: int) -> None:
        """A call gets no outcome: it no longer counts as one that waits for it."""
        self._pending_bytes -= self._pending.pop(call, 0)

    def kill(self) -> None:
        """Kill it without waiting for its end."""
        self._body.kill()
        self._channel.abort()

    async def close(self) -> Exit:
        """Kill the process and all it started, reap it, remove its scratch. Idempotent, bounded."""
        async with self._closing:
            if self._exit is None:
                self._exit = await self._end()
            return self._exit

    async def _end(self) -> Exit:
        ended = self._body.ended
        if self._written is not None:
            self._written.close()
        if self._channel.ended and not ended.done():
            await asyncio.wait([ended], timeout=DYING_S)
        by_itself = ended.done()
        self.kill()
        await asyncio.wait([ended], timeout=CLOSE_S)
        if not ended.done():
            return Exit(None, None, 0.0, 0, self._limit, f"not reaped within {CLOSE_S:g} s of its kill")
        await self._body.clean()
        return self._describe(ended.result(), by_itself=by_itself)

    def _describe(self, reaped: Reaped, *, by_itself: bool) -> Exit:
        if reaped.status is None:
            return Exit(signal.SIGKILL, None, 0.0, 0, self._limit, "its zygote died", dropped_lines=self._dropped)
        killed = os.WIFSIGNALED(reaped.status)
        number = os.WTERMSIG(reaped.status) if killed else None
        code = None if killed else os.waitstatus_to_exitcode(reaped.status)
        limit = self._limit or reaped.limit
        if limit is None and by_itself and number == signal.SIGKILL:
            slack = min(CPU_SLACK_S, self._limits.cpu_s / 2)
            limit = "cpu_s" if reaped.cpu_s >= self._limits.cpu_s - slack else "memory_bytes"
        peak = max(1, reaped.max_rss_bytes - self._body.shared_bytes) if reaped.max_rss_bytes else 0
        detail = f"killed by {signal.Signals(number).name}" if number else f"exit code {code}"
        return Exit(number, code, reaped.cpu_s, reaped.max_rss_bytes, limit, detail, peak, self._dropped)

    def _fail(self, error: RunError) -> None:
        self._failure = error
        self.kill()
        if isinstance(error, ProtocolViolation):
            self._on_violation()
        self._limit = self._limit or self._channel.crossed

    def _accept(self, frame: GuestFrame, raw: bytes) -> GuestFrame | None:
        """Return a frame to pass on; None for one that is dropped."""
        if isinstance(frame, Ready) or not self._started or (isinstance(frame, Compiled) and not self._tells_code):
            raise ProtocolViolation(f"the guest sent {type(frame).__name__.lower()} where none is due")
        self._tells_code = False
        if isinstance(frame, Log):
            return self._within_output(frame)
        if isinstance(frame, Note):
            return self._within_notes(frame)
        if isinstance(frame, Call):
            self._add_pending(frame.id, len(raw) + PART_BYTES * min(MAX_NODES, raw.count(b",") + raw.count(b"[")))
        elif isinstance(frame, Step) and frame.ack:
            self._add_pending(frame.ack, 0)
        elif isinstance(frame, Drop):
            self._given_up.add(frame.id)
        elif isinstance(frame, Last):
            self._finished = True
        return frame

    def _add_pending(self, call: int, size: int) -> None:
        if call in self._pending or call < 0:
            raise ProtocolViolation(
                f"the guest used the call id {call} twice" if call >= 0 else "a call id is negative"
            )
        self._pending[call] = size
        self._pending_bytes += size
        if self._pending_bytes > PENDING_BYTES:
            self._limit = "pending_calls"
            raise LimitExceeded(
                f"the workflow's calls without an answer hold more than {PENDING_BYTES >> 20} MiB",
                hint="Make fewer calls with large arguments beside each other.",
            )
        most = self._limits.pending_calls
        if len(self._pending) > most and len(self._pending.keys() - self._given_up) > most:
            self._limit = "pending_calls"
            raise LimitExceeded(
                f"the workflow has more than pending_calls = {most} calls without an answer",
                limit="pending_calls",
            )

    def _with_written(self, frames: list[GuestFrame], *, over: bool) -> list[GuestFrame]:
        """Return the frames with what was written past them, which comes before the last one."""
        if self._written is None or self._silent:
            return frames
        last = [frame for frame in frames[-1:] if isinstance(frame, Last)]
        over = over or bool(last)
        if not over and not self._written.waiting:
            return frames
        self._silent = over
        if not over and self._output_left <= 0:
            self._dropped += self._written.drop()
            return frames
        lines = self._written.take(LAST_LINES if over else max(1, self._turns.frames), all_of_it=over)
        self._turns.spend(len(lines), sum(map(len, lines)))
        logs = [Log("stderr", harmless_text(line), time.time()) for line in lines]
        kept = [log for log in logs if self._within_output(log) is not None]
        return [*frames[: len(frames) - len(last)], *kept, *last]

    def _within_output(self, frame: Log) -> Log | None:
        """Return a line, cut with a notice where the budget ends, and None behind that."""
        if self._output_left <= 0:
            self._dropped += 1
            return None
        size = len(frame.text.encode())
        self._output_left -= size + LINE_COST
        if self._output_left <= 0:
            kept = cut_text(frame.text, max(0, size + self._output_left))
            notice = f"[output cut: more than output_bytes = {self._limits.output_bytes}]"
            frame.text = f"{kept}\n{notice}" if kept else notice
        return frame

    def _within_notes(self, frame: Note) -> Note | None:
        """Return a note while their budget lasts, which is as large as that of output."""
        self._notes_left -= len(frame.name.encode()) + len(frame.message.encode()) + LINE_COST
        return frame if self._notes_left > 0 else None
