"""The real command as a process, with pipes or at a pseudo-terminal."""

import json
import os
import pty
import re
import select
import signal
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

from stepwell_server.cli import main
from support.forked import run_forked

COMMAND = [sys.executable, "-m", "stepwell_server.cli"]
LIMIT_S = 60.0
_STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


class Stepwell:
    """Runs `stepwell` on one home.

    A call is a process of its own. `here`, `create` and `json` run the same command in this process, each time with
    a newly opened home: for what a test prepares and looks at, since starting Python is what takes their time.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = os.environ | {"STEPWELL_HOME": str(home), "HOME": str(home.parent), "USER": "ada"}

    def __call__(self, *words: str, stdin: str | bytes = "", env: dict[str, str] | None = None) -> Result:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        code, out, err = run_forked([*words], self.environment | (env or {}), data, LIMIT_S)
        return Result(code, out.decode(), err.decode())

    def here(self, *words: str, stdin: str | bytes = "") -> Result:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        before, sys.stdin = sys.stdin, TextIOWrapper(BytesIO(data))
        out, err = StringIO(), StringIO()
        try:
            with redirect_stdout(out), redirect_stderr(err):
                code = main([*words, "--home", str(self.home)])
        finally:
            sys.stdin = before
        return Result(code, out.getvalue(), err.getvalue())

    def json(self, *words: str, stdin: str = "") -> Any:
        """Return the one JSON object of a command that must succeed."""
        done = self.here(*words, "--output", "json", stdin=stdin)
        assert done.code == 0, done
        return done.data

    def create(self, name: str, source: str, *words: str) -> None:
        done = self.here("create", "-", "--name", name, *words, stdin=source)
        assert done.code == 0, done

    def terminal(self, *words: str) -> "Terminal":
        return Terminal(words, self.environment)


class Terminal:
    """`stepwell` at a terminal: what it shows is read, what a person types is written."""

    def __init__(self, words: tuple[str, ...], environment: dict[str, str]) -> None:
        self.shown = ""
        self._read = 0
        pid, descriptor = pty.fork()
        if pid == 0:
            os.execve(COMMAND[0], [*COMMAND, *words], environment | {"TERM": "xterm", "COLUMNS": "120"})
        self._pid = pid
        self._descriptor = descriptor
        self._deadline = time.monotonic() + LIMIT_S

    def until(self, text: str) -> None:
        """Read until `text` is shown, after what was waited for before."""
        while text not in self.shown[self._read :]:
            assert self._more(), f"ended without {text!r}: {self.shown}"
        self._read = self.shown.index(text, self._read) + len(text)

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def interrupt(self) -> None:
        self.type("\x03")

    def end(self) -> int:
        """Return the exit code."""
        while self._more():
            pass
        os.close(self._descriptor)
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    def _more(self) -> bool:
        ready, _, _ = select.select([self._descriptor], [], [], max(0.0, self._deadline - time.monotonic()))
        if not ready:
            os.kill(self._pid, signal.SIGKILL)
            raise AssertionError(f"nothing more came: {self.shown}")
        try:
            data = os.read(self._descriptor, 65536)
        except OSError:  # how Linux tells that the other side is closed
            return False
        self.shown += _STYLE.sub("", data.decode("utf-8", "replace"))
        return bool(data)
