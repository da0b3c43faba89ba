"""What the engine asks of a sandbox."""

from dataclasses import dataclass
from typing import Protocol

from stepwell.ports.frames import GuestFrame, HostFrame

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one guest process may use. Crossing one ends the run with an error that names it."""

    memory_bytes: int = 1024 * MIB
    """Address space."""
    cpu_s: int = 60
    """CPU seconds of one process; a resumed run gets a new process."""
    wall_s: float = 600.0
    """Seconds of work, not counting waits for timers, people and children; kept by the engine."""
    threads: int = 64
    open_files: int = 64
    file_bytes: int = 32 * MIB
    """Largest single file in the scratch directory."""
    scratch_bytes: int = 64 * MIB
    """The whole scratch directory."""
    output_bytes: int = 1 * MIB
    """All of print and logging; the rest is cut and said so."""
    frame_bytes: int = 4 * MIB
    """One frame from the guest."""
    total_bytes: int = 256 * MIB
    """All frames from one guest process."""
    pending_calls: int = 1024
    """Calls that wait for an answer at one time."""
    journal_entries: int = 50_000
    """Calls and steps of one run; kept by the engine."""
    journal_bytes: int = 256 * MIB
    """Arguments and results of one run; kept by the engine."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a guest process ended."""

    signal: int | None
    code: int | None
    cpu_s: float
    max_rss_bytes: int
    limit: str | None = None
    """The `Limits` field that ended it, as far as can be told, else None."""
    detail: str = ""


class GuestProcess(Protocol):
    """One confined, single-use process. Its identity is this object, never a field of a message."""

    @property
    def level(self) -> str:
        """The isolation it really has: `A`, `A2`, `B`, `C`."""
        ...

    async def receive(self) -> list[GuestFrame]:
        """Return the frames that have arrived, waiting for at least one; empty when the process has ended.

        Raises:
            ProtocolViolation: the guest sent what no honest guest sends; it is being killed.
            LimitExceeded: it sent more than its limits allow; it is being killed.
        """
        ...

    async def send(self, *messages: HostFrame) -> None:
        """Queue messages; wait while the guest reads slower than its buffer allows. A dead guest is ignored."""
        ...

    async def close(self) -> Exit:
        """Kill the whole process tree if it lives, reap it, remove its scratch. Idempotent, bounded to 5 s."""
        ...


class Sandbox(Protocol):
    """Makes guest processes."""

    @property
    def level(self) -> str:
        """The level that new processes get."""
        ...

    async def open(self, limits: Limits) -> GuestProcess:
        """Return a confined process that has sent `Ready`.

        Raises:
            SandboxUnavailable: no process can be confined at the level asked for.
        """
        ...
