"""Who this process is, and how others know that it lives.

A worker's lease is on the boot's monotonic clock, so that a change of the wall clock neither ends nor prolongs
it. Beside the lease each worker holds a lock on a file: the kernel lets go of it when the process dies, however it
dies, so that its runs are taken over at once and not only after the lease.
"""

import contextlib
import os
import sys
import time
import uuid
from pathlib import Path

if sys.platform != "win32":
    import fcntl

LEASE_S = 15.0  # a stopped process loses its runs after this; renewed every third of it
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Return a name of this boot of the machine: monotonic times compare within it."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        # macOS: the boot's wall time, to 10 s, since the two clocks are read one after the other.
        return f"boot-{round((time.time() - time.monotonic()) / 10)}"


class WorkerLock:
    """The lock file of one worker, held until the process ends."""

    def __init__(self, folder: Path) -> None:
        self.worker = f"w-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = folder / f"{self.worker}.lock"
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if sys.platform != "win32":
            fcntl.flock(self._fd, fcntl.LOCK_EX)

    def release(self) -> None:
        """Remove the file and let go."""
        self._path.unlink(missing_ok=True)
        os.close(self._fd)


def is_dead(folder: Path, worker: str) -> bool:
    """Whether the worker's process has certainly ended; its lock file is removed then."""
    if sys.platform == "win32" or "/" in worker:
        return False
    path = folder / f"{worker}.lock"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        return True
    finally:
        os.close(fd)
