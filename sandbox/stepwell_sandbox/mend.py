"""The exact commands that give this machine more isolation."""

import sys
from pathlib import Path

IN_CONTAINER = ("/.dockerenv", "/run/.containerenv")
_INSTALL = {
    "debian": "sudo apt-get install -y bubblewrap",
    "fedora": "sudo dnf install -y bubblewrap",
    "arch": "sudo pacman -S --noconfirm bubblewrap",
    "suse": "sudo zypper install -y bubblewrap",
    "alpine": "sudo apk add bubblewrap",
}
_FAMILIES = {"ubuntu": "debian", "rhel": "fedora", "centos": "fedora", "opensuse": "suse", "sles": "suse"}
_DOCKER = (
    "docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined ... "
    "(Podman: the same options; Stepwell then sets its own filters)"
)
_APPARMOR = (
    "sudo apt-get install -y apparmor-profiles && "
    "sudo ln -sf /usr/share/apparmor/extra-profiles/bwrap-userns-restrict /etc/apparmor.d/ && "
    "sudo apparmor_parser -r /etc/apparmor.d/bwrap-userns-restrict"
)
_LANDLOCK = (
    "add lsm=landlock,lockdown,yama,integrity,apparmor,bpf to GRUB_CMDLINE_LINUX in /etc/default/grub, then "
    "sudo update-grub (Fedora: sudo grub2-mkconfig -o /boot/grub2/grub.cfg) && sudo reboot; it needs Linux 5.13"
)
_OTHER_SYSTEMS = {
    "darwin": "run the server in a Linux container, for example: docker run -it --rm python:3.12 bash",
    "win32": "run the server in WSL 2: wsl --install -d Ubuntu",
}


def os_family(os_release: str) -> str:
    """Return `debian`, `fedora`, `arch`, `suse`, `alpine` or "" for the text of /etc/os-release."""
    values = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    names = [values.get("ID", "").strip('"'), *values.get("ID_LIKE", "").strip('"').split()]
    families = [_FAMILIES.get(name.split("-")[0], name.split("-")[0]) for name in names]
    return next((family for family in families if family in _INSTALL), "")


def install_bubblewrap() -> str:
    """Return the command that installs bubblewrap here."""
    family = os_family(_read("/etc/os-release"))
    return _INSTALL.get(family, "install the package bubblewrap, 0.8 or newer")


def allow_namespaces() -> str:
    """Return the command that lets bubblewrap make its namespaces here."""
    if any(Path(path).exists() for path in IN_CONTAINER):
        return _DOCKER
    if _read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").strip() == "1":
        return _APPARMOR
    if _read("/proc/sys/kernel/unprivileged_userns_clone").strip() == "0":
        return "sudo sysctl -w kernel.unprivileged_userns_clone=1"
    if _read("/proc/sys/user/max_user_namespaces").strip() == "0":
        return "sudo sysctl -w user.max_user_namespaces=15000"
    return f"allow user namespaces; in a container: {_DOCKER}"


def enable_landlock() -> str:
    """Return how to give this kernel Landlock."""
    if any(Path(path).exists() for path in IN_CONTAINER):
        return f"on the machine that runs the container: {_LANDLOCK}"
    return _LANDLOCK


def leave_system() -> str:
    """Return where to run the server when this system has no isolation; empty on Linux."""
    return _OTHER_SYSTEMS.get(sys.platform, "" if sys.platform == "linux" else "run the server on Linux")


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
