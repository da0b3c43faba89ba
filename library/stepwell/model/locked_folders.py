"""Temporary folders with a lock in each: it tells a later process which of them a killed one has left."""

import os
import stat
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from stepwell.model.locks import take_lock

_LOCK = "lock"
_STARTING_S = 60.0  # in which a process has locked its folder; nothing breaks if it takes longer


def make_locked(parent: Path, prefix: str) -> tuple[Path, int]:
    """Make a folder for this user alone; return it with the descriptor that holds its lock until it is closed."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent)).resolve()
        lock = take_lock(path / _LOCK)
        if lock is None:  # swept by another process before it was locked
            continue
        if os.fstat(lock).st_nlink:
            return path, lock
        os.close(lock)


def sweep_left(parent: Path, prefix: str, remove: Callable[[Path], None]) -> None:
    """Remove the folders of this user that nobody holds. One that raises `OSError` is left for the next time."""
    for path in parent.glob(f"{prefix}*"):
        try:
            state = path.lstat()
        except FileNotFoundError:  # swept by another process
            continue
        if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid():
            continue
        # A process that dies before it has made its lock leaves a folder without one.
        lock = take_lock(path / _LOCK, create=time.time() - state.st_mtime > _STARTING_S)
        if lock is None:
            continue
        try:
            remove(path)
        except OSError:
            continue
        finally:
            os.close(lock)
