"""Working directories of command-line tools: each is removed after its call, or by a later server."""

import asyncio
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

from stepwell.model.locks import take_lock

_PREFIX = "stepwell-tool-"
_LOCK, _WORK = "lock", "work"


@asynccontextmanager
async def scratch_directory() -> AsyncGenerator[Path]:
    """Make a directory below the system's temporary one, for as long as it is used."""
    making = asyncio.ensure_future(asyncio.to_thread(_make_locked, tempfile.gettempdir()))
    try:
        path, _ = await asyncio.shield(making)
        yield path / _WORK
    finally:
        path, lock = await making  # it goes on in its thread when this is cancelled
        await asyncio.to_thread(_remove, path, lock)


def _make_locked(parent: str) -> tuple[Path, int]:
    """Make a folder and lock it; one that another server swept before it was locked is given up."""
    _sweep(parent)
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        lock = take_lock(path / _LOCK)
        if lock is None:
            continue
        if os.fstat(lock).st_nlink:
            (path / _WORK).mkdir(mode=0o700)
            return path, lock
        os.close(lock)


def _remove(path: Path, lock: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    os.close(lock)


@cache
def _sweep(parent: str) -> None:
    """Remove, once in a process, what servers of this user have left that were killed during a call."""
    for path in Path(parent).glob(f"{_PREFIX}*"):
        try:
            state = path.lstat()
        except FileNotFoundError:  # swept by another server
            continue
        if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid():
            continue
        if (lock := take_lock(path / _LOCK)) is not None:
            _remove(path, lock)
