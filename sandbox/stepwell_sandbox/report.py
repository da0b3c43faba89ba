"""What this machine can isolate, for people."""

from dataclasses import dataclass

from stepwell_sandbox import mend
from stepwell_sandbox.launch import LEVELS, Level, find_bwrap

UNPROVEN = "none"


@dataclass(frozen=True, slots=True)
class Layer:
    """One thing that stands between a workflow and the machine."""

    name: str
    present: bool
    stops: str
    """What a workflow could do without it."""
    mend: str
    """The command that brings it, empty when it is present."""


@dataclass(frozen=True, slots=True)
class Report:
    """The state of isolation."""

    level: str
    """The level that runs get; empty when they are refused."""
    minimum: str
    layers: tuple[Layer, ...]
    refused: tuple[tuple[str, str], ...]
    """Stronger levels, and why each cannot be had."""
    warnings: tuple[str, ...]

    @property
    def hint(self) -> str:
        """How to get every missing layer, one line each."""
        return "\n".join(f"{layer.name}: {layer.mend}" for layer in self.layers if not layer.present)


def describe(
    minimum: str, level: str, landlock_abi: int, refused: tuple[tuple[str, str], ...], warnings: tuple[str, ...]
) -> Report:
    """Return the report on a machine.

    Args:
        minimum: The level asked for.
        level: The level that was proven, empty for none.
        landlock_abi: The kernel's Landlock version, 0 for none.
        refused: Levels and why they were refused.
        warnings: What else an operator should know.
    """
    proven = LEVELS.get(level)
    return Report(level, minimum, _layers(proven, landlock_abi), refused, warnings)


def _layers(proven: Level | None, landlock_abi: int) -> tuple[Layer, ...]:
    elsewhere = mend.leave_system()
    spaces = mend.allow_namespaces() if find_bwrap() else mend.install_bubblewrap()
    found = (
        (
            "bubblewrap namespaces",
            proven is not None and proven.bubblewrap,
            "seeing that other files, processes and network interfaces exist",
            spaces,
        ),
        (
            "namespaces per run",
            proven is not None and proven.own_namespaces,
            "seeing other runs, and filling the disk between two checks of the scratch directory",
            spaces,
        ),
        (
            "Landlock",
            landlock_abi > 0,
            "reading and writing files of the machine",
            mend.enable_landlock(),
        ),
        (
            "system call filter",
            proven is not None,
            "sockets, programs, new processes, and most of the kernel's surface",
            "needs Linux on x86-64 or ARM64 with CONFIG_SECCOMP_FILTER",
        ),
        (
            "resource limits",
            proven is not None,
            "using up memory, processor time, files and threads",
            "needs a level other than none",
        ),
    )
    return tuple(
        Layer(name, present, stops, "" if present else elsewhere or command) for name, present, stops, command in found
    )
