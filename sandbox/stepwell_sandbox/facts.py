"""What is known of a machine before anything is started on it. Read from files, so that tests can write them."""

import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stepwell_sandbox.bubblewrap import Bubblewrap, find_bubblewrap

_FAMILIES = {"ubuntu": "debian", "rhel": "fedora", "centos": "fedora", "opensuse": "suse", "sles": "suse"}
KNOWN_FAMILIES = ("debian", "fedora", "arch", "suse", "alpine")
_CONTAINER_FILES = {"/.dockerenv": "docker", "/run/.containerenv": "podman"}
_CONTAINER_GROUPS = {"kubepods": "kubernetes", "docker": "docker", "libpod": "podman", "lxc": "lxc"}
PROCESSORS = ("x86_64", "aarch64")
_ALL_USERS = "4294967295"
"""How many user ids the first user namespace of a machine maps."""
_NESTING = {
    "CODEX_SANDBOX": "Codex",
    "CODEX_SANDBOX_NETWORK_DISABLED": "Codex",
    "SANDBOX_RUNTIME": "the sandbox of Claude Code",
    "SNAP_NAME": "a snap",
}
"""The program around this process, by the variable that it sets."""


@dataclass(frozen=True, slots=True)
class Facts:
    """One machine, as far as isolation depends on it."""

    system: str
    """As of `sys.platform`."""
    distribution: str
    family: str
    """`debian`, `fedora`, `arch`, `suse`, `alpine` or empty."""
    kernel: str
    wsl: int
    """1 or 2 for the generations of the Windows Subsystem for Linux, else 0."""
    container: str
    """`docker`, `podman`, `kubernetes`, `lxc`, another name, or empty."""
    nested_in: str
    """The sandbox of another program that this process is in; empty for none that is known."""
    can_filter: bool
    """The kernel has system call filters, and there is a table for the processor."""
    filtered: bool
    """A system call filter of somebody else is on this process."""
    landlock_abi: int
    security_modules: tuple[str, ...]
    apparmor_limits_namespaces: bool
    """Ubuntu's rule: programs without a profile get user namespaces without rights."""
    apparmor_profile: str
    """Ubuntu's profile for bubblewrap: `loadable`, `installed`, or empty."""
    user_namespaces: bool
    """No setting of the kernel forbids them."""
    bubblewrap: Bubblewrap | None

    @property
    def kernel_version(self) -> tuple[int, int]:
        """Major and minor number of the kernel; zeros where there are none."""
        found = re.match(r"(\d+)\.(\d+)", self.kernel)
        return (int(found[1]), int(found[2])) if found else (0, 0)


def read_facts(
    landlock_abi: int,
    root: Path = Path("/"),
    environment: Mapping[str, str] | None = None,
    system: str = sys.platform,
    processor: str = platform.machine(),
) -> Facts:
    """Return the facts of the machine whose files are below `root`. Blocking.

    Args:
        landlock_abi: What the kernel says its Landlock is, 0 for none.
        root: `/`, or a copy of what matters of another machine.
        environment: The variables of this process.
        system: As of `sys.platform`.
        processor: As of `platform.machine()`.
    """
    variables = os.environ if environment is None else environment
    files = _Files(root)
    release = files.read("/etc/os-release")
    kernel = files.read("/proc/sys/kernel/osrelease").strip()
    container = _container(files, variables)
    status = _fields(files.read("/proc/self/status"), ":")
    return Facts(
        system=system,
        distribution=_fields(release).get("PRETTY_NAME", ""),
        family=os_family(release),
        kernel=kernel,
        wsl=_wsl(kernel),
        container=container,
        nested_in=_nesting(files, variables, container),
        can_filter=system == "linux" and "Seccomp" in status and processor in PROCESSORS,
        filtered=status.get("Seccomp", "0") == "2",
        landlock_abi=landlock_abi,
        security_modules=tuple(filter(None, files.read("/sys/kernel/security/lsm").strip().split(","))),
        apparmor_limits_namespaces=files.read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").strip() == "1",
        apparmor_profile=_apparmor_profile(files),
        user_namespaces=files.read("/proc/sys/kernel/unprivileged_userns_clone").strip() != "0"
        and files.read("/proc/sys/user/max_user_namespaces").strip() != "0",
        bubblewrap=find_bubblewrap(root, variables) if system == "linux" else None,
    )


def os_family(os_release: str) -> str:
    """Return `debian`, `fedora`, `arch`, `suse`, `alpine` or "" for the text of /etc/os-release."""
    values = _fields(os_release)
    names = [values.get("ID", ""), *values.get("ID_LIKE", "").split()]
    families = [_FAMILIES.get(name.split("-")[0], name.split("-")[0]) for name in names]
    return next((family for family in families if family in KNOWN_FAMILIES), "")


class _Files:
    """The files of a machine."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, path: str) -> str:
        try:
            return (self._root / path.lstrip("/")).read_text(errors="replace")
        except OSError:
            return ""

    def has(self, path: str) -> bool:
        return os.path.exists(self._root / path.lstrip("/"))


def _fields(text: str, separator: str = "=") -> dict[str, str]:
    parts = (line.partition(separator) for line in text.splitlines())
    return {name.strip(): value.strip().strip("\"'") for name, found, value in parts if found}


def _wsl(kernel: str) -> int:
    lower = kernel.lower()
    if "microsoft" not in lower:
        return 0
    return 2 if "wsl2" in lower or "standard" in lower else 1


def _container(files: _Files, variables: Mapping[str, str]) -> str:
    if "KUBERNETES_SERVICE_HOST" in variables:
        return "kubernetes"
    named = next((name for path, name in _CONTAINER_FILES.items() if files.has(path)), "")
    if named:
        return named
    groups = files.read("/proc/1/cgroup")
    grouped = next((name for word, name in _CONTAINER_GROUPS.items() if word in groups), "")
    return grouped or variables.get("container", "")


def _nesting(files: _Files, variables: Mapping[str, str], container: str) -> str:
    if files.has("/.flatpak-info"):
        return "Flatpak"
    for name, program in _NESTING.items():
        if variables.get(name):
            return program
    mapped = files.read("/proc/self/uid_map").split()
    # A container may have many user ids of its own; a single one is what sandboxes map.
    if mapped and (mapped[2:] == ["1"] or (not container and mapped[-1] != _ALL_USERS)):
        return "a user namespace of another sandbox"
    return ""


def _apparmor_profile(files: _Files) -> str:
    if files.has("/etc/apparmor.d/bwrap-userns-restrict"):
        return "installed"
    return "loadable" if files.has("/usr/share/apparmor/extra-profiles/bwrap-userns-restrict") else ""
