"""What one run may use, and what an operator or a workflow may set."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from stepwell.model import Json, JsonObject
from stepwell.model.sizes import KIB, MIB, read_size, show_size

MAX_FRAME_BYTES = 4 * MIB
"""Decoding a larger frame would hold up the event loop for over 50 ms."""
MAX_LIMIT = 2**50  # far above any machine; keeps infinity out


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use. Crossing one ends the run with an error that names it."""

    memory_bytes: int = 1024 * MIB
    """Address space of its process."""
    cpu_s: int = 60
    """CPU seconds of a run, over all its processes."""
    wall_s: float = 600.0
    """Seconds of work, not counting waits for timers, people, events and children; kept by the engine."""
    threads: int = 64
    open_files: int = 64
    file_bytes: int = 32 * MIB
    """Largest single file in the scratch directory."""
    scratch_bytes: int = 64 * MIB
    """The whole scratch directory."""
    output_bytes: int = 1 * MIB
    """All of print and logging of one process; the rest is dropped and counted, and the run goes on."""
    frame_bytes: int = MAX_FRAME_BYTES
    """One message from the guest: a result of the run or of a step, or the arguments of a call."""
    total_bytes: int = 256 * MIB
    """All messages from one guest process."""
    pending_calls: int = 1024
    """Calls that wait for an answer at one time."""
    journal_entries: int = 50_000
    """Calls and steps of one run; kept by the engine."""
    journal_bytes: int = 256 * MIB
    """Arguments and results of one run; kept by the engine."""

    def lowered(self, wanted: Mapping[str, float]) -> Self:
        """Return these limits with those that `wanted` has lower."""
        return replace(self, **{name: value for name, value in wanted.items() if value < getattr(self, name)})


@dataclass(frozen=True, slots=True)
class ArtifactLimits:
    """How many bytes of artifacts may be kept. The call that would keep more fails, and can be handled."""

    each: int = 16 * MIB
    run: int = 256 * MIB
    """Of one run together."""
    home: int | None = None
    """Of all runs together; None: what the disk takes."""


# With less no process of ours starts, or none can say how it ended.
LEAST: dict[str, float] = {
    "memory_bytes": 64 * MIB,
    "threads": 4,
    "open_files": 16,
    "frame_bytes": 4 * KIB,
    "total_bytes": 64 * KIB,
}
MOST: dict[str, float] = {"frame_bytes": MAX_FRAME_BYTES}
WHOLE = frozenset(field.name for field in fields(Limits) if field.type is int)
NAMES = tuple(field.name for field in fields(Limits))


def read_limit(name: str, given: Any) -> float:
    """Return the value of a limit; sizes may be text, such as "256 MiB".

    Raises:
        ValueError: it is no such value; the message says what is.
    """
    value: Any = read_size(given) if name.endswith("_bytes") and isinstance(given, str) else given
    whole = name in WHOLE
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        form = 'a whole number, or a text such as "256 MiB"' if name.endswith("_bytes") else "a whole number"
        raise ValueError(f"{name} is {form if whole else 'a number'}")  # noqa: TRY004  it is read from a file
    least, most = LEAST.get(name), MOST.get(name)
    if least is not None and value < least:
        raise ValueError(f"{name} is at least {show_limit(name, least)}")
    if most is not None and value > most:
        raise ValueError(f"{name} is at most {show_limit(name, most)}")
    if not 0 < value < MAX_LIMIT:
        raise ValueError(f"{name} is more than 0 and less than {MAX_LIMIT}")
    return value


def read_limits(given: Json) -> dict[str, float]:
    """Return the limits that a workflow declares, by name.

    Raises:
        ValueError: an unknown name, or no such value.
    """
    if not isinstance(given, dict):
        raise ValueError("limits is a dict of names and values")  # noqa: TRY004  as above
    if unknown := [name for name in given if name not in NAMES]:
        raise ValueError(f"there is no limit {unknown[0][:40]!r}; there are {', '.join(NAMES)}")
    return {name: read_limit(name, value) for name, value in given.items()}


def read_timeout(given: Json) -> float | None:
    """Return the `timeout` that a workflow declares, which is its `wall_s`.

    Raises:
        ValueError: it is no number of seconds.
    """
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 < given < MAX_LIMIT:
        raise ValueError("timeout is a number of seconds, more than 0")
    return float(given)


def declared_limits(options: JsonObject) -> dict[str, float]:
    """Return the limits that a module's options set, by name."""
    try:
        wanted = read_limits(options.get("limits") or {})
        timeout = read_timeout(options.get("timeout"))
    except ValueError:
        return {}  # stored before they were checked
    return wanted if timeout is None else wanted | {"wall_s": min(timeout, wanted.get("wall_s", timeout))}


def show_limit(name: str, value: float) -> str:
    """Return a limit's value for people and models: the number, and a size in larger units too."""
    shown = f"{value:g}" if isinstance(value, float) and value < 1e6 else str(int(value))
    size = show_size(int(value)) if name.endswith("_bytes") else ""
    return f"{shown} ({size})" if size and size != shown else shown
