"""One command, run to its end: own process group, bounded output, killed as a whole."""

import asyncio
import os
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

STDERR_BYTES = 4096  # of its end are kept
GRACE_S = 1.0  # for the rest of the output once the command has ended
REAP_S = 5.0


@dataclass(frozen=True, slots=True)
class Command:
    """What to run."""

    words: Sequence[str]
    """The program's path and its arguments."""
    environment: Mapping[str, str]
    directory: Path
    stdin: bytes
    timeout_s: float
    output_bytes: int
    kill_on_overflow: bool
    """Else the rest of the output is read and thrown away, and the command may end by itself."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How it went."""

    code: int
    """Exit code; negative: the signal."""
    stdout: bytes
    stderr: bytes
    overflow: bool
    timed_out: bool


class _Output(asyncio.Protocol):
    """Collects what a pipe gives: its beginning, or only its end."""

    def __init__(self, limit: int, *, keep_end: bool, on_overflow: Callable[[], None]) -> None:
        self.data = bytearray()
        self.overflow = False
        self.ended = asyncio.get_running_loop().create_future()
        self._limit = limit
        self._keep_end = keep_end
        self._on_overflow = on_overflow

    def data_received(self, data: bytes) -> None:
        if self._keep_end:
            self.data += data
            del self.data[: -self._limit]
            return
        room = self._limit - len(self.data)
        self.data += data[:room]
        if len(data) > room and not self.overflow:
            self.overflow = True
            self._on_overflow()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


async def run_command(command: Command) -> Ended:
    """Run the command; when this returns or raises, no process of its group is left.

    Raises:
        OSError: it could not be started.
        RuntimeError: it could not be ended.
    """
    process: asyncio.subprocess.Process | None = None

    def overflowed() -> None:
        if command.kill_on_overflow and process is not None:
            _kill_group(process.pid)

    with ExitStack() as open_things:
        stdout = _Output(command.output_bytes, keep_end=False, on_overflow=overflowed)
        stderr = _Output(STDERR_BYTES, keep_end=True, on_overflow=overflowed)
        # A file, not a pipe: a command that does not read its input must not hold up anything.
        stdin = open_things.enter_context(tempfile.TemporaryFile())
        stdin.write(command.stdin)
        stdin.seek(0)
        # Own pipes: asyncio's would make wait() last as long as any descendant holds them.
        out_fd = await _open_pipe(stdout, open_things)
        err_fd = await _open_pipe(stderr, open_things)
        try:
            process = await asyncio.create_subprocess_exec(
                *command.words,
                stdin=stdin,
                stdout=out_fd,
                stderr=err_fd,
                cwd=command.directory,
                env=command.environment,
                start_new_session=True,
            )
        finally:
            os.close(out_fd)
            os.close(err_fd)
        if stdout.overflow:  # already while it was being started
            overflowed()
        timed_out = await _wait(process, command.timeout_s)
        await asyncio.wait([stdout.ended, stderr.ended], timeout=GRACE_S)
        code = process.returncode if process.returncode is not None else -signal.SIGKILL
        return Ended(code, bytes(stdout.data), bytes(stderr.data), stdout.overflow, timed_out)


async def _wait(process: asyncio.subprocess.Process, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(timeout_s):
            await process.wait()
    except TimeoutError:
        return True
    else:
        return False
    finally:
        # Also after its end: what it left running in the background goes too.
        _kill_group(process.pid)
        await _reap(process)


async def _reap(process: asyncio.subprocess.Process) -> None:
    try:
        async with asyncio.timeout(REAP_S):
            await process.wait()
    except TimeoutError as error:  # stuck in the kernel, on a dead file system for example
        raise RuntimeError(f"the process {process.pid} could not be ended") from error


async def _open_pipe(output: _Output, open_things: ExitStack) -> int:
    read_fd, write_fd = os.pipe()
    reader = open_things.enter_context(os.fdopen(read_fd, "rb", 0))
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: output, reader)
    open_things.callback(transport.close)
    return write_fd


def _kill_group(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # PermissionError: macOS, for a group of zombies
        os.killpg(group, signal.SIGKILL)
