"""print, logging and warnings of a workflow as logs of its run."""

import codecs
import contextvars
import io
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stepwell.sdk.scope import current_scope
from stepwell_sandbox.guest import real
from stepwell_sandbox.guest.channel import Channel

MAX_LINE = 8192  # characters; longer ones are cut
LEVELS = (
    (logging.CRITICAL, "critical"),
    (logging.ERROR, "error"),
    (logging.WARNING, "warning"),
    (logging.INFO, "info"),
)
thread_step: contextvars.ContextVar[str] = contextvars.ContextVar("stepwell_thread_step", default="")
"""Where a thread was started that is no part of the workflow's own order."""
_channel: Channel | None = None
_is_repeated: Callable[[], bool] = bool
_basic_config = logging.basicConfig


@dataclass(slots=True)
class _Line:
    """A line that has no end yet."""

    text: str
    """Its beginning, as far as it is kept."""
    length: int
    step: str


class _Stream(io.TextIOBase):
    """A text stream whose lines become frames. Each thread has an unfinished line of its own."""

    encoding = "utf-8"  # pyright: ignore[reportAssignmentType]  a property of the type that it is declared as
    errors = "backslashreplace"  # pyright: ignore[reportAssignmentType]  as above

    def __init__(self, level: str) -> None:
        self._level = level
        self._open: dict[int, _Line] = {}
        self._lock = threading.RLock()
        self.buffer = _Bytes(self)

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]  the author's call
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        thread, step = threading.get_ident(), current_step()
        with self._lock:
            *ended, rest = text.split("\n")
            for part in ended:
                self._add(thread, step, part)
                self._end(thread)
            if rest:
                self._add(thread, step, rest)
        return len(text)

    def flush(self) -> None:
        """Keep unfinished lines until they are finished: `print(end="", flush=True)` makes no line."""

    def finish(self) -> None:
        """Send unfinished lines."""
        with self._lock:
            for thread in list(self._open):
                self._end(thread)

    def _add(self, thread: int, step: str, text: str) -> None:
        line = self._open.get(thread)
        if line is not None and line.step != step:
            self._end(thread)
            line = None
        if line is None:
            line = self._open[thread] = _Line("", 0, step)
        line.length += len(text)
        line.text += text[: MAX_LINE - len(line.text)]

    def _end(self, thread: int) -> None:
        line = self._open.pop(thread)
        _send(self._level, line.text, line.length, line.step)


class _Bytes(io.RawIOBase):
    """What stands behind a text stream for those who write bytes."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        taken = bytes(data)
        self._stream.write(self._decode(taken))
        return len(taken)


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        level = next((name for least, name in LEVELS if record.levelno >= least), "debug")
        try:
            text = self.format(record).rstrip("\n")
        except Exception as error:  # noqa: BLE001  the author's format string
            text = f"(a log line could not be formatted: {error})"
        _send(level, text, len(text), current_step())


def current_step() -> str:
    """Return the step whose attempt runs here, or has started this thread; empty in the body."""
    scope = current_scope()
    return thread_step.get() if scope is None else scope.step


def _send(level: str, text: str, length: int, step: str) -> None:
    if _channel is None:  # a zygote's, or of a process that has not begun
        os.write(2, f"{text}\n".encode("utf-8", "backslashreplace"))
        return
    if _is_repeated():
        return
    text = text[:MAX_LINE].encode("utf-8", "backslashreplace").decode()
    if length > MAX_LINE:
        text += f" [cut: {length} characters]"
    frame = {"t": "log", "level": level, "text": text, "at": real.now()}
    _channel.send(frame | {"step": step} if step else frame)


def _configure(**given: Any) -> None:
    """Stands for `logging.basicConfig` in a process whose log is there already: it sets the level."""
    if given.keys() & {"filename", "handlers"}:
        _basic_config(**given)
    elif given.get("level") is not None:
        logging.getLogger().setLevel(given["level"])


_streams = _Stream("stdout"), _Stream("stderr")


def prepare() -> None:
    """Put streams and a log of our own in the place of Python's, or of what packages have made of them."""
    stdout: Any = _streams[0]
    stderr: Any = _streams[1]
    sys.stdout, sys.stderr = stdout, stderr
    root = logging.getLogger()
    root.handlers[:] = [_Handler()]
    root.setLevel(logging.INFO)
    logging.basicConfig = _configure
    logging.captureWarnings(True)
    warnings.simplefilter("default")


def capture(channel: Channel | None, is_repeated: Callable[[], bool] = bool) -> None:
    """Send what is written from now on to the host, except while `is_repeated()`; without a channel to descriptor 2."""
    global _channel, _is_repeated
    if sys.stdout is not _streams[0]:  # a zygote has prepared what it forks
        prepare()
    _channel, _is_repeated = channel, is_repeated


def flush() -> None:
    """Send unfinished lines."""
    for stream in _streams:
        stream.finish()
