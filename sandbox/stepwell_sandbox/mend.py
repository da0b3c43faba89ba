"""The exact commands that give a machine more isolation, from the facts about it."""

from stepwell_sandbox.bubblewrap import OLDEST
from stepwell_sandbox.facts import Facts

_INSTALL = {
    "debian": "sudo apt-get install -y bubblewrap",
    "fedora": "sudo dnf install -y bubblewrap",
    "arch": "sudo pacman -S --noconfirm bubblewrap",
    "suse": "sudo zypper install -y bubblewrap",
    "alpine": "sudo apk add bubblewrap",
}
_PROFILE = "bwrap-userns-restrict"
_LOAD_PROFILE = f"sudo apparmor_parser -r /etc/apparmor.d/{_PROFILE}"
_LINK_PROFILE = f"sudo ln -sf /usr/share/apparmor/extra-profiles/{_PROFILE} /etc/apparmor.d/"
NEEDED_CALLS = ("clone", "mount", "pivot_root", "sethostname", "setns", "umount2", "unshare")
"""What Docker's default filter refuses to containers without rights and bubblewrap needs."""
_DOCKER_PROFILE = (
    "curl -fsSL https://raw.githubusercontent.com/moby/profiles/main/seccomp/default.json | "
    "jq '.syscalls += [{names: ["
    + ", ".join(f'"{name}"' for name in NEEDED_CALLS)
    + '], action: "SCMP_ACT_ALLOW"}]\' > stepwell-seccomp.json'
)
_APPARMOR_PROFILE = (
    "printf 'abi <abi/4.0>,\\nprofile stepwell flags=(unconfined) {\\n  userns,\\n}\\n' | "
    "sudo tee /etc/apparmor.d/stepwell && sudo apparmor_parser -r /etc/apparmor.d/stepwell"
)
"""Under Ubuntu's rule a container without a profile gets no user namespace, and with Docker's own no mount in it."""
_DOCKER = (
    "on the machine that starts the container: {profiles}\n"
    "{program} run --security-opt seccomp=stepwell-seccomp.json --security-opt apparmor={apparmor} ...\n"
    "(or, wider: --security-opt seccomp=unconfined; --privileged is not needed)"
)
_KUBERNETES = (
    "in the container's securityContext: seccompProfile: {{type: Localhost, localhostProfile: stepwell-seccomp.json}} "
    "and appArmorProfile: {apparmor}; on the node, the first in /var/lib/kubelet/seccomp: {profiles}"
)
_LANDLOCK_CALLS = (
    "Docker before 23 forbids it: update it, or allow the landlock_* calls in the filter around the server. If "
    "/sys/kernel/security/lsm of the machine that runs the container does not name it: "
)
_ALLOW_CLONE = "echo kernel.unprivileged_userns_clone=1 | sudo tee /etc/sysctl.d/60-user-namespaces.conf"
_ALLOW_COUNT = "echo user.max_user_namespaces=15000 | sudo tee /etc/sysctl.d/60-user-namespaces.conf"
_OUTSIDE = "start the server outside of {program}; as an MCP server the client does that: stepwell setup {client}"
_CLIENTS = {"Codex": "codex", "the sandbox of Claude Code": "claude-code"}
_LANDLOCK_SINCE = (5, 13)
_DEFAULT_MODULES = ("lockdown", "yama", "integrity", "apparmor", "bpf")
_WSL_MODULES = "[wsl2]\\nkernelCommandLine = lsm=landlock,lockdown,yama,integrity,bpf"
_OTHER_SYSTEMS = {
    "darwin": "run the server in a Linux container, for example: docker run -it --rm python:3.12 bash",
    "win32": "run the server in WSL 2: wsl --install -d Ubuntu",
}


def leave_system(system: str) -> str:
    """Return where to run the server when `sys.platform` has no isolation; empty on Linux."""
    return _OTHER_SYSTEMS.get(system, "" if system == "linux" else "run the server on Linux")


def install_bubblewrap(facts: Facts) -> str:
    """Return the command that installs bubblewrap, or mends the one that may not be used."""
    install = _INSTALL.get(facts.family, f"install the package bubblewrap, {OLDEST[0]}.{OLDEST[1]} or newer")
    found = facts.bubblewrap
    if found is None:
        return install
    if found.setuid:
        return f"sudo chmod u-s {found.path}"
    return f"{install} (needed: {OLDEST[0]}.{OLDEST[1]}; Debian 12, Ubuntu 24.04 and Fedora 38 have it)"


def allow_namespaces(facts: Facts) -> str:
    """Return what lets a usable bubblewrap make its namespaces."""
    if facts.wsl == 1:
        return "wsl --set-version <distribution> 2   (in PowerShell; WSL 1 has no Linux kernel)"
    if facts.nested_in:
        return leave_sandbox(facts)
    if facts.container:
        return _allow_in_container(facts)
    if not facts.user_namespaces:
        clone = facts.family == "debian"
        return f"{_ALLOW_CLONE if clone else _ALLOW_COUNT} && sudo sysctl --system"
    if facts.apparmor_limits_namespaces:
        return load_profile(facts)
    if facts.filtered:
        return (
            "a system call filter lies around the server (a container, a systemd unit with SystemCallFilter=, another "
            f"sandbox): allow {', '.join(NEEDED_CALLS)} in it, or start the server outside"
        )
    return "sysctl user.max_user_namespaces kernel.unprivileged_userns_clone   (they must not be 0)"


def _allow_in_container(facts: Facts) -> str:
    rule = facts.apparmor_limits_namespaces
    profiles = f"{_DOCKER_PROFILE} && {_APPARMOR_PROFILE}" if rule else _DOCKER_PROFILE
    if facts.container == "kubernetes":
        apparmor = "{type: Localhost, localhostProfile: stepwell}" if rule else "{type: Unconfined}"
        return _KUBERNETES.format(apparmor=apparmor, profiles=profiles)
    program = "podman" if facts.container == "podman" else "docker"
    return _DOCKER.format(profiles=profiles, program=program, apparmor="stepwell" if rule else "unconfined")


def load_profile(facts: Facts) -> str:
    """Return how to give bubblewrap the profile with which Ubuntu lets it work."""
    own = "" if facts.bubblewrap is None or facts.bubblewrap.system else f"{_INSTALL['debian']} && "
    match facts.apparmor_profile:
        case "installed":
            return own + _LOAD_PROFILE
        case "loadable":
            return f"{own}{_LINK_PROFILE} && {_LOAD_PROFILE}"
        case _:
            return f"{own}sudo apt-get install -y apparmor-profiles && {_LINK_PROFILE} && {_LOAD_PROFILE}"


def leave_sandbox(facts: Facts) -> str:
    """Return how to start the server outside of the sandbox that it is in."""
    client = _CLIENTS.get(facts.nested_in)
    if client is None:
        return f"start the server outside of {facts.nested_in}, or allow user namespaces in it"
    return _OUTSIDE.format(program=facts.nested_in, client=client)


def allow_run_namespaces(facts: Facts) -> str:
    """Return what gives each run its own namespaces where bubblewrap works already."""
    if facts.apparmor_limits_namespaces and not facts.container:
        return (
            "nothing that keeps Ubuntu's rule: its profile lets bubblewrap work and leaves what bubblewrap starts "
            "without rights, so A2 is the strongest level here"
        )
    return allow_namespaces(facts)


def enable_landlock(facts: Facts) -> str:
    """Return how to give this kernel Landlock."""
    if facts.wsl == 1:
        return allow_namespaces(facts)
    if facts.wsl == 2:
        return f"in PowerShell: wsl --update; add to %UserProfile%\\.wslconfig: {_WSL_MODULES}; then: wsl --shutdown"
    if "landlock" in facts.security_modules:
        if facts.nested_in:
            return leave_sandbox(facts)
        return "the kernel has it, and a filter around the server forbids it: allow the landlock_* calls there"
    where = "on the machine that runs the container: " if facts.container else ""
    if facts.container and facts.filtered and not facts.security_modules and facts.kernel_version >= _LANDLOCK_SINCE:
        return _LANDLOCK_CALLS + _command_line(facts)
    if (0, 0) < facts.kernel_version < _LANDLOCK_SINCE:
        return f"{where}it needs Linux 5.13, this is {facts.kernel}: install a newer kernel and reboot"
    return where + _command_line(facts)


def _command_line(facts: Facts) -> str:
    others = [name for name in facts.security_modules if name != "capability"] or list(_DEFAULT_MODULES)
    option = f"lsm={','.join(['landlock', *others])}"
    if facts.family == "fedora":
        return f'sudo grubby --update-kernel=ALL --args="{option}" && sudo reboot'
    if facts.family == "debian":
        line = f'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX {option}"'
        return f"echo '{line}' | sudo tee /etc/default/grub.d/landlock.cfg && sudo update-grub && sudo reboot"
    return f"add {option} to the kernel's command line and reboot"
