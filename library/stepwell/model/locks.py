"""Locks of the kernel on files: they end with the process that holds them, however it ends."""

import os
from pathlib import Path


def take_lock(path: Path, *, create: bool = True) -> int | None:
    """Return a descriptor that holds the lock; None if another process holds it, or it or its folder is not there."""
    import fcntl  # noqa: PLC0415 - does not exist on Windows, where this module can still be imported

    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if create else 0), 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd
