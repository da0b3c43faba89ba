"""What a zygote does to its children, as plain values: the host makes it on any system, the zygote reads it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """The layers of one level, and the paths that they leave open."""

    own_namespaces: bool
    """Each child gets PID, mount and IPC namespaces of its own."""
    landlock: bool
    paths: bool
    """Calls that take a path are allowed."""
    hidden_files: bool
    """A mount namespace hides the files of the machine."""
    readable: tuple[str, ...]
    hidden: tuple[str, ...]
    """Packages of the machine that lie below what is readable, and that no mount covers."""
    private_scratch: str
    """Where a child with namespaces of its own mounts its scratch directory."""
    scratch_root: str
    """Where those of the others are made; empty for none."""
    scratch_mounts: int
    """How many file systems of a fixed size there are below it, numbered from 0, one for each child; 0: it is a
    directory on disk, which the host clears."""
    packages: str = ""
    """Where the packages are that guests may import; empty for none."""

    @property
    def sealed_later(self) -> bool:
        """Compiled modules can be loaded until the guest's code begins, since it could write some of its own."""
        return bool(self.packages) and not self.own_namespaces


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """The part of a run's limits that the kernel keeps, in the units of `stepwell.ports.sandbox.Limits`."""

    memory_bytes: int
    cpu_s: int
    threads: int
    open_files: int
    file_bytes: int
    scratch_bytes: int
