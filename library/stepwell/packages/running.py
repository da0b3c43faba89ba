"""Run an installer with bounds on its time and on what it puts on the disk."""

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stepwell.errors import PackageRefused
from stepwell.packages.shelf import folder_size
from stepwell.tools.processes import Command, Ended, run_command

TIMEOUT_S = 900.0
WATCH_S = 0.5
OUTPUT_BYTES = 1024 * 1024
# They would let it install elsewhere than it is told to, run other code, or build.
_UNWANTED = (
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_USER",
    "PIP_ROOT",
    "PIP_REPORT",
)
_FIXED = {"PIP_REQUIRE_VIRTUALENV": "0", "PIP_NO_INPUT": "1", "PYTHONDONTWRITEBYTECODE": "1"}


# A program whose server is killed must not go on writing into a folder that the next one sweeps.
_GUARD = """
import os, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True, slots=True)
class Work:
    """A folder in which packages are made ready."""

    path: Path
    max_bytes: int
    """Of all that is put into it."""
    grown: Callable[[int], None]
    """Told now and then how many bytes there are."""


async def run(work: Work, words: Sequence[str], stdin: bytes = b"") -> Ended:
    """Run a program in the folder; it is killed, with all it started, when it takes too long or too much.

    Raises:
        PackageRefused: it put more there than is allowed.
        OSError: it could not be started.
    """
    temporary = work.path / "tmp"
    temporary.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name not in _UNWANTED}
    environment |= {**_FIXED, "TMPDIR": str(temporary), "TMP": str(temporary), "TEMP": str(temporary)}
    guarded = (sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid()), *words)
    command = Command(guarded, environment, work.path, stdin, TIMEOUT_S, OUTPUT_BYTES, kill_on_overflow=False)
    running = asyncio.ensure_future(run_command(command))
    try:
        while True:
            done, _ = await asyncio.wait([running], timeout=WATCH_S)
            size = await asyncio.to_thread(folder_size, work.path)
            if size > work.max_bytes:
                raise PackageRefused(
                    f"the packages have more than {work.max_bytes // 1024**2} MiB together",
                    hint="The operator can raise [packages] max_mib in stepwell.toml.",
                )
            if done:
                return running.result()
            work.grown(size)
    finally:
        running.cancel()
        await asyncio.wait([running])
