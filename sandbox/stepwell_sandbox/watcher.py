"""The host's watch over processes whose memory and disk the kernel does not bound."""

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stepwell_sandbox.confine.quota import over_quota

INTERVAL_S = 0.1
MAX_FILES = 4096
_RUSAGE_SIZE, _RESIDENT_OFFSET = 96, 64
"""Of `rusage_info_v0`: an id of 16 bytes, six counters, then the resident size."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one process may use."""

    memory_bytes: int
    scratch_bytes: int


def resident_bytes(pid: int) -> int:
    """Return how much memory a process holds; 0 if it has ended."""
    if sys.platform == "darwin":
        held = ctypes.create_string_buffer(_RUSAGE_SIZE)
        if ctypes.CDLL("/usr/lib/libproc.dylib").proc_pid_rusage(pid, 0, held) != 0:
            return 0
        return int.from_bytes(held.raw[_RESIDENT_OFFSET : _RESIDENT_OFFSET + 8], sys.byteorder)
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        return 0


async def watch(pid: int, scratch: Path, bounds: Bounds, on_crossed: Callable[[str], None]) -> None:
    """Call `on_crossed` with the limit's name once it is crossed. Runs until it is cancelled or that happens."""
    while True:
        if await asyncio.to_thread(resident_bytes, pid) > bounds.memory_bytes:
            return on_crossed("memory_bytes")
        if await asyncio.to_thread(over_quota, str(scratch), bounds.scratch_bytes, MAX_FILES):
            return on_crossed("scratch_bytes")
        await asyncio.sleep(INTERVAL_S)
