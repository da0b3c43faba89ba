"""Working directories of command-line tools: each is removed after its call, or by a later server."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

from stepwell.model.locked_folders import make_locked, sweep_left

_PREFIX = "stepwell-tool-"
_WORK = "work"


@asynccontextmanager
async def scratch_directory() -> AsyncGenerator[Path]:
    """Make a directory below the system's temporary one, for as long as it is used."""
    making = asyncio.ensure_future(asyncio.to_thread(_make, Path(tempfile.gettempdir())))
    try:
        path, _ = await asyncio.shield(making)
        yield path / _WORK
    finally:
        path, lock = await making  # it goes on in its thread when this is cancelled
        await asyncio.to_thread(_remove, path, lock)


def _make(parent: Path) -> tuple[Path, int]:
    _sweep(parent)
    path, lock = make_locked(parent, _PREFIX)
    (path / _WORK).mkdir(mode=0o700)
    return path, lock


def _remove(path: Path, lock: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    os.close(lock)


@cache
def _sweep(parent: Path) -> None:
    """Once in a process."""
    sweep_left(parent, _PREFIX, lambda path: shutil.rmtree(path, ignore_errors=True))
