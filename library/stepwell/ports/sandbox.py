"""What the engine asks of a sandbox."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stepwell.ports.frames import GuestFrame, HostFrame
from stepwell.ports.limits import Limits


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
    memory_bytes: int = 0
    """The most that it used, without what all processes share; 0 if unknown."""
    dropped_lines: int = 0
    """Of output, behind the end of `output_bytes`."""


class GuestProcess(Protocol):
    """One confined, single-use process. Its identity is this object, never a field of a message."""

    @property
    def level(self) -> str:
        """The isolation it really has: `A`, `A2`, `B`, `C`."""
        ...

    def memory_bytes(self) -> int:
        """Return what it uses now, without what all processes share; 0 if unknown."""
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

    def forget(self, call: int) -> None:
        """A call gets no outcome: it no longer counts as one that waits for it."""
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

    async def open(self, limits: Limits, packages: Path | None = None) -> GuestProcess:
        """Return a confined process that has sent `Ready`; it can import from the folder `packages`.

        Raises:
            SandboxUnavailable: no process can be confined at the level asked for.
            PackagesUnavailable: at that level no packages can be loaded.
        """
        ...
