"""What this machine can isolate, for people."""

from dataclasses import dataclass

from stepwell_sandbox import mend, seatbelt
from stepwell_sandbox.facts import Facts
from stepwell_sandbox.launch import LEVELS, Level

_THREADS = "the kernel counts the threads of all runs together, so one can take those that others want"
LOSSES = {
    "A": (),
    "A2": (
        "the number of files in a scratch directory is measured every 50 ms, so it can be exceeded for as long",
        "runs share one process namespace; signals between them are still refused",
        _THREADS,
    ),
    "B": (
        "a workflow can learn that a file or process exists, and a file's size, owner and times; no contents",
        "the scratch directory's size is measured every 50 ms, so it can be exceeded for as long",
        "C extensions that are not loaded beforehand cannot be imported",
        _THREADS,
    ),
    "seatbelt": (
        "the size of memory and of the scratch directory is measured every 100 ms, so both can be exceeded for as long",
        "a workflow that is left by a killed server ends only at its limits",
        "it was never tried on a Mac",
    ),
    "C": ("workflows have no files at all: no scratch directory, no late imports", _THREADS),
    "none": ("everything: workflows can read and change what this user can",),
}
"""What each level lacks of the one before it."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One thing that stands between a workflow and the machine."""

    name: str
    present: bool
    stops: str
    """What a workflow could do without it."""
    mend: str
    """The command that brings it, empty when it is present."""
    needed: bool = False
    """The level that was asked for cannot be had without it."""


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
    facts: Facts

    @property
    def losses(self) -> tuple[str, ...]:
        """What the level lacks of the strongest."""
        return LOSSES.get(self.level, ())

    @property
    def missing(self) -> tuple[Layer, ...]:
        """The layers that the level asked for needs and that are not there."""
        return tuple(layer for layer in self.layers if layer.needed and not layer.present)

    @property
    def refusal(self) -> str:
        """Why runs are refused, in one sentence."""
        names = [layer.name for layer in self.missing]
        missing = f", no {' and no '.join(names)}" if names else ""
        reasons = "; ".join(f"{name}: {why}" for name, why in self.refused)
        return f"this machine cannot isolate at level {self.minimum} or better{missing} ({reasons})"

    @property
    def hint(self) -> str:
        """How to get what is missing for the level asked for, one line for each layer."""
        layers = self.missing or tuple(layer for layer in self.layers if not layer.present)
        return "\n".join(f"{layer.name}: {layer.mend}" for layer in layers)


def describe(
    minimum: str, level: str, facts: Facts, refused: tuple[tuple[str, str], ...], warnings: tuple[str, ...]
) -> Report:
    """Return the report on a machine.

    Args:
        minimum: The level asked for.
        level: The level that was proven, empty for none.
        facts: What is known of the machine.
        refused: Levels and why they were refused.
        warnings: What else an operator should know.
    """
    return Report(level, minimum, _layers(level, LEVELS.get(minimum), facts), refused, warnings, facts)


def _macos_layers(level: str) -> tuple[Layer, ...]:
    present = level == seatbelt.NAME
    stops = "reading and writing files of the machine, the network, starting processes, signals"
    return (Layer(seatbelt.NAME, present, stops, "" if present else mend.leave_system("darwin"), needed=True),)


def _layers(level: str, wanted: Level | None, facts: Facts) -> tuple[Layer, ...]:
    proven = LEVELS.get(level)
    if facts.system == "darwin":
        return _macos_layers(level)
    usable = facts.bubblewrap is not None and not facts.bubblewrap.refusal
    spaces = mend.allow_namespaces(facts) if usable else mend.install_bubblewrap(facts)
    outer, inner = proven is not None and proven.bubblewrap, proven is not None and proven.own_namespaces
    found = (
        (
            "bubblewrap namespaces",
            outer,
            "seeing that other files, processes and network interfaces exist",
            spaces,
            wanted is not None and wanted.bubblewrap,
        ),
        (
            "namespaces per run",
            inner,
            "seeing other runs, and filling the disk between two checks of the scratch directory",
            mend.allow_run_namespaces(facts) if outer else spaces,
            wanted is not None and wanted.own_namespaces,
        ),
        (
            "Landlock",
            facts.landlock_abi > 0,
            "reading and writing files of the machine",
            mend.enable_landlock(facts),
            wanted is not None and wanted.landlock,
        ),
        (
            "system call filter",
            proven is not None or (facts.can_filter and wanted is not None),
            "sockets, programs, new processes, and most of the kernel's surface",
            "needs Linux on x86-64 or ARM64 with CONFIG_SECCOMP_FILTER",
            wanted is not None,
        ),
        (
            "resource limits",
            proven is not None or (facts.system == "linux" and wanted is not None),
            "using up memory, processor time, files and threads",
            "needs a level other than none",
            wanted is not None,
        ),
    )
    elsewhere = mend.leave_system(facts.system)
    return tuple(
        Layer(name, present, stops, "" if present else elsewhere or command, needed)
        for name, present, stops, command, needed in found
    )
