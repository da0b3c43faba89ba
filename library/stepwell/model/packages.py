"""The third-party packages of a version: which files exactly, and where they are."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

FORMAT = 1
"""Raised when the same files would be laid out differently."""


@dataclass(frozen=True, slots=True)
class LockedFile:
    """One wheel."""

    name: str
    """Normalised."""
    version: str
    file: str
    """`numpy-2.4.0-cp311-cp311-manylinux_2_28_x86_64.whl`."""
    sha256: str

    @property
    def anywhere(self) -> bool:
        """Whether it is for every Python 3 on every system."""
        python, _, platform = self.file.removesuffix(".whl").split("-")[-3:]
        return platform == "any" and "py3" in python.split(".")


@dataclass(frozen=True, slots=True)
class Lock:
    """The files that a version runs with, found once; the same for ever."""

    requirements: tuple[str, ...]
    """As the author wrote them, normalised."""
    python: str
    """`3.11`."""
    platform: str
    """`linux-x86_64`."""
    files: tuple[LockedFile, ...]
    """By name."""

    @property
    def id(self) -> str:
        """The name of the environment: it follows from the files and from nothing else."""
        content = json.dumps([FORMAT, [asdict(file) for file in self.files]], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:32]

    @property
    def anywhere(self) -> bool:
        """Whether every Python 3 on every system can run it."""
        return all(file.anywhere for file in self.files)


@dataclass(frozen=True, slots=True)
class Environment:
    """A folder of installed packages that nobody writes to."""

    id: str
    path: Path
