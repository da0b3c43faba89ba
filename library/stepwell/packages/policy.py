"""Which packages the operator allows."""

import json
import platform
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stepwell.errors import PackageRefused
from stepwell.model import Version
from stepwell.model.packages import Lock
from stepwell.model.requirements import Requirement, read_requirement, within

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class PackagePolicy:
    """The section `[packages]` of stepwell.toml. Without an allowed name nothing is installed."""

    allow: tuple[Requirement, ...] = ()
    """Names, and the versions of them that may be used."""
    transitive: bool = False
    """Whether what an allowed package needs may be installed without being listed."""
    max_bytes: int = 1024 * MIB
    """Of one environment, unpacked."""

    def check_declared(self, requirements: Sequence[Requirement]) -> None:
        """Look at what a workflow asks for.

        Raises:
            PackageRefused: a name is not allowed; the hint has the lines that would allow it.
        """
        allowed = {item.name for item in self.allow}
        if missing := [item.name for item in requirements if item.name not in allowed]:
            raise self._refusal(missing, "the workflow declares")

    def check_lock(self, lock: Lock) -> None:
        """Look at all files that a workflow runs with.

        Raises:
            PackageRefused: a name or version is not allowed, or was once and is not any more.
        """
        bounds: dict[str, list[str]] = {}
        for item in self.allow:
            bounds.setdefault(item.name, []).append(item.bounds)
        declared = {read_requirement(text).name for text in lock.requirements}
        needed = [file.name for file in lock.files if file.name not in bounds]
        if missing := [name for name in needed if name in declared or not self.transitive]:
            raise self._refusal(missing, "the workflow runs with")
        for file in lock.files:
            for bound in bounds.get(file.name, []):
                if not within(bound, file.version):
                    raise PackageRefused(
                        f"The operator allows {file.name}{bound}, and the workflow is bound to {file.version}.",
                        hint="Change its bounds in the `# /// script` block and create it again: a new version is "
                        "bound to packages of its own.",
                    )

    def _refusal(self, names: Iterable[str], who: str) -> PackageRefused:
        missing = sorted(set(names))
        wanted = [str(item) for item in self.allow] + missing
        lines = f"[packages]\nallow = {json.dumps(wanted)}"
        if self.transitive:
            lines += "\ntransitive = true"
        return PackageRefused(
            f"Not allowed by the operator of this Stepwell: {', '.join(missing)}, which {who}.",
            hint="Use the standard library or a tool, or ask the operator to write into stepwell.toml, and to start "
            f"the server anew:\n{lines}",
        )


def this_python() -> str:
    """Return the Python that guests run on, as a lock names it."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def this_platform() -> str:
    """Return the system and processor of this machine, as a lock names them."""
    return f"{sys.platform}-{platform.machine().lower()}"


def check_machine(lock: Lock) -> None:
    """Look whether the files are for this machine.

    Raises:
        PackageRefused: they are for another Python, system or processor.
    """
    ours = (this_python(), this_platform())
    if not lock.anywhere and (lock.python, lock.platform) != ours:
        raise PackageRefused(
            f"The workflow's packages are those for Python {lock.python} on {lock.platform}; this is Python {ours[0]} "
            f"on {ours[1]}.",
            hint="Run it where it was stored, or store a new version here: any change of the source makes one.",
        )


def check_python(version: Version) -> None:
    """Look whether the version's `requires-python` holds here.

    Raises:
        PackageRefused: it does not.
    """
    bounds = version.manifest.get("requires_python", "")
    ours = ".".join(map(str, sys.version_info[:3]))
    if not within(bounds, ours):
        raise PackageRefused(
            f"The workflow requires Python {bounds}; this is {ours}.", hint="Change `requires-python` in its block."
        )
