"""Start a program so that it, and all it starts, can never outlive its host."""

import asyncio
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_STDERR_BYTES = 2000


@dataclass(frozen=True, slots=True)
class Program:
    """What to start."""

    command: tuple[str, ...]
    environment: dict[str, str]
    user: int | None = None
    """The user and group to become, None to stay."""
    folder: str = "/"


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended."""

    status: int
    """As of `wait(2)`."""
    cpu_s: float
    max_rss_bytes: int

    @property
    def killed(self) -> bool:
        """Whether somebody sent SIGKILL to it, or to what bubblewrap started."""
        code = os.waitstatus_to_exitcode(self.status) if self.status >= 0 else 0
        return code in (-signal.SIGKILL, 128 + signal.SIGKILL)


class Starter:
    """Starts a program in a thread of its own, which then waits for its end.

    The kernel sends the parent-death signal when the *thread* that forked ends, so it must live as long as
    the program; and the fork of a large server must not hold up the event loop.
    """

    def __init__(self, program: Program, inherited: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._program = program
        self._inherited = inherited
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the program
        self._said = ""
        self._lock = threading.Lock()
        self._pid: int | None = None
        self.started: asyncio.Future[None] = self._loop.create_future()
        """Raises the OSError of a program that cannot be started."""
        self.ended: asyncio.Future[Ended] = self._loop.create_future()
        threading.Thread(target=self._run, name="stepwell-zygote", daemon=True).start()

    @property
    def pid(self) -> int:
        """Its process id while it lives, 0 else."""
        return self._pid or 0

    def said(self) -> str:
        """Return the start of what the program wrote to its standard error."""
        with self._lock:
            if self._stderr.closed:
                return self._said
            self._stderr.seek(0)
            return self._stderr.read(_STDERR_BYTES).decode("utf-8", "replace").strip()

    def kill(self) -> None:
        """Kill the program and its process group; harmless when they have ended."""
        with self._lock:
            if self._pid is not None:
                _kill_group(self._pid)

    def _run(self) -> None:
        program = self._program
        try:
            process = subprocess.Popen(  # noqa: S603 - our own command
                program.command,
                env=program.environment,
                cwd=program.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                pass_fds=(self._inherited,),
                start_new_session=True,
                user=program.user,
                group=program.user,
                extra_groups=None if program.user is None else (),
            )
        except (OSError, subprocess.SubprocessError) as error:
            self._close()
            self._tell(_fail, self.started, OSError(str(error)))
            self._tell(_settle, self.ended, Ended(-1, 0.0, 0))
            return
        with self._lock:
            self._pid = process.pid
        self._tell(_settle, self.started, None)
        ended = self._wait(process)
        self._close()
        self._tell(_settle, self.ended, ended)

    def _close(self) -> None:
        """Keep what was said. In this thread: the event loop may be over before the program is."""
        said = self.said()
        with self._lock:
            self._said = said
            self._stderr.close()

    def _wait(self, process: subprocess.Popen[bytes]) -> Ended:
        """Wait for the end, kill what is left of the group while its number is still taken, and reap."""
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            self._pid = None
            _kill_group(process.pid)
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return Ended(status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)

    def _tell(
        self, settle: Callable[[asyncio.Future[Any], Any], None], future: asyncio.Future[Any], value: object
    ) -> None:
        try:
            self._loop.call_soon_threadsafe(settle, future, value)
        except RuntimeError:  # the loop was closed first
            return


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _settle(future: asyncio.Future[Any], value: object) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[Any], error: OSError) -> None:
    if not future.done():
        future.set_exception(error)
