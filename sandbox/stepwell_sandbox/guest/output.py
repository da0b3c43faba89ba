"""print, logging and warnings of a workflow as logs of its run."""

import io
import logging
import sys
import warnings
from collections.abc import Callable
from typing import Any

from stepwell_sandbox.guest import real
from stepwell_sandbox.guest.channel import Channel

MAX_LINE = 8192  # characters; longer ones are cut
LEVELS = (
    (logging.CRITICAL, "critical"),
    (logging.ERROR, "error"),
    (logging.WARNING, "warning"),
    (logging.INFO, "info"),
)
_is_repeated: Callable[[], bool] = bool


class _Stream(io.TextIOBase):
    """A text stream whose lines become frames."""

    def __init__(self, channel: Channel, level: str) -> None:
        self._channel = channel
        self._level = level
        self._line = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self._line += str(text)
        *lines, self._line = self._line.split("\n")
        for line in lines:
            _send(self._channel, self._level, line)
        if len(self._line) > MAX_LINE:
            self.flush()
        return len(text)

    def flush(self) -> None:
        if self._line:
            _send(self._channel, self._level, self._line)
            self._line = ""


class _Handler(logging.Handler):
    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        level = next((name for least, name in LEVELS if record.levelno >= least), "debug")
        try:
            text = self.format(record)
        except Exception as error:  # noqa: BLE001  the author's format string
            text = f"(a log line could not be formatted: {error})"
        _send(self._channel, level, text)


def _send(channel: Channel, level: str, text: str) -> None:
    if _is_repeated():
        return
    text = text[:MAX_LINE].encode("utf-8", "backslashreplace").decode()
    channel.send({"t": "log", "level": level, "text": text, "at": real.now()})


def capture(channel: Channel, is_repeated: Callable[[], bool]) -> None:
    """Send everything that is written from now on to the host, except while `is_repeated()`."""
    global _is_repeated  # noqa: PLW0603  one process runs one workflow
    _is_repeated = is_repeated
    stdout: Any = _Stream(channel, "stdout")
    stderr: Any = _Stream(channel, "stderr")
    sys.stdout, sys.stderr = stdout, stderr
    root = logging.getLogger()
    root.handlers[:] = [_Handler(channel)]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    warnings.simplefilter("default")


def flush() -> None:
    """Send unfinished lines."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, _Stream):
            stream.flush()
