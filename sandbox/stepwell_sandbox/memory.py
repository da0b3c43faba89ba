"""How much memory this machine has left, and how much a process uses. Blocking, for some microseconds."""

import os
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
_PROC = Path("/proc")
_GROUPS = Path("/sys/fs/cgroup")


def available_bytes(proc: Path = _PROC, groups: Path = _GROUPS) -> int | None:
    """Return what can be used without swapping: of the machine, or of the container's share; None if unknown."""
    amounts = [amount for amount in (_of_machine(proc), _of_group(proc, groups)) if amount is not None]
    return min(amounts, default=None)


def resident_bytes(pid: int) -> int:
    """Return the memory of a process, with what it shares with others; 0 if unknown."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0


def _of_machine(proc: Path) -> int | None:
    try:
        with (proc / "meminfo").open() as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, IndexError, ValueError):
        return None


def _of_group(proc: Path, groups: Path) -> int | None:
    """Return what is left of the limits of the control groups around this process."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return None
    left: list[int] = []
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            left += _along(groups, path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            left += _along(groups / "memory", path, *names)
    return min(left, default=None)


def _along(top: Path, path: str, limit: str, usage: str, reclaimable: str) -> list[int]:
    """Return what is left in the group at `path` and in those above it, as far as they are seen from here."""
    place = Path(os.path.normpath(f"{top}/{path}"))
    if not place.is_relative_to(top):
        place = top
    found: list[int] = []
    for folder in (place, *place.parents):
        if not folder.is_relative_to(top):
            break
        most, used = _number(folder / limit), _number(folder / usage)
        if most is not None and used is not None:
            found.append(max(0, most - used + _stat(folder / "memory.stat", reclaimable)))
    return found


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None  # not there, or "max"


def _stat(path: Path, name: str) -> int:
    try:
        with path.open() as lines:
            return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), 0)
    except (OSError, ValueError, IndexError):
        return 0
